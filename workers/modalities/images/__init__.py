"""Pictures: grey, RGB or RGBA, with or without class labels."""
