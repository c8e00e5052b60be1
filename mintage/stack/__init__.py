"""The local stack: real Valkey, SeaweedFS, API and workers as processes of this machine, and nothing left behind."""
