"""From a preset and the size of a table to the settings of a training."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workers.engine.trainer import Settings
from workers.modalities.table.spec import TableConfig

VALIDATION, VALIDATION_MOST = 0.1, 8_000  # of the training rows, set aside to decide when to stop and what to keep
FEW, TINY, TINY_STEPS = 500, 40, 25  # rows: below, more are set aside; below, none, and so few steps are made
TOLD_APART = 500  # rows set aside that it takes to judge adversarial training; with fewer there is none
AMPLE, MOST_DROPPED = 40_000, 0.4  # rows for which a preset's dropout is meant, and the most that fewer rows lead to
MANY, LEAST_WIDTH = 100, 16  # variables from which on networks become narrower, down to this width
LEAST_ROUND = 500  # steps: shorter ones are not worth another


@dataclass(frozen=True)
class Plan:
    """What a preset stands for."""

    warm_steps: int  # of a round, at most: held-out rows end it
    steps: int  # of adversarial training
    width: int
    dropout: float
    patience: int  # judgements without progress before the learning rate falls
    rounds: int = 1  # of the warm start: generators that share the drawing
    batch: int = 256

    @property
    def all_steps(self) -> int:
        return self.rounds * self.warm_steps + self.steps


PLANS = {
    "draft": Plan(900, 100, 64, 0.1, 3),
    "standard": Plan(6_000, 200, 64, 0.15, 4),
    "best": Plan(8_000, 200, 64, 0.15, 5, rounds=6),
}


def planned(config: TableConfig, rows: int) -> Plan:
    """The preset's plan, with what the config sets; `steps` are shared out as in the preset. The fewer rows, the more
    is dropped: small tables are soon learned by heart."""
    plan = PLANS[config.preset]
    plan = replace(plan, dropout=min(MOST_DROPPED, plan.dropout * (AMPLE / max(rows, 1)) ** 0.5))
    if config.steps is not None:
        rounds = max(1, min(plan.rounds, config.steps // LEAST_ROUND))
        warm = round(config.steps * (1 - plan.steps / plan.all_steps) / rounds)
        plan = replace(plan, steps=config.steps - rounds * warm, warm_steps=warm, rounds=rounds)
    if rows < TINY:  # no row can be spared to say when they are known by heart
        plan = replace(plan, warm_steps=min(plan.warm_steps, TINY_STEPS), rounds=1)
    if rows * VALIDATION < TOLD_APART:
        plan = replace(plan, steps=0)
    batch = min(config.batch or plan.batch, max(32, rows))
    return replace(plan, width=config.width or plan.width, batch=batch)


def narrowed(plan: Plan, config: TableConfig, variables: int) -> Plan:
    """The plan for a table of so many variables, with which a step costs about what it costs with MANY: on 411 a width
    of 16 learned as much a step as 32, and for the same seconds more than 32 and 64 (docs/LOG.md). Adversarial steps
    draw variable by variable, which a width makes no cheaper."""
    share = min(1.0, MANY / max(1, variables))
    width = max(LEAST_WIDTH, 8 * round(plan.width * share / 8))
    return replace(
        plan,
        width=config.width or min(plan.width, width),
        steps=plan.steps if config.steps is not None else round(plan.steps * share),
    )


def settings(plan: Plan) -> Settings:
    """Of the adversarial part."""
    return Settings(
        steps=plan.steps,
        batch=plan.batch,
        lr_generator=(1e-3, 1e-4),
        lr_discriminator=(1e-3, 1e-4),
        gamma=(0.1, 0.1),
        beta2=(0.99, 0.99),
        ema_half_life=138.0,
        burn_in=1.0,
        warmup=min(50, plan.steps // 10),
        penalty="finite",
        penalty_share=0.25,
        balance=0.56,  # D is near chance after the warm start: G waits until it has something to say
        judge_every=200,
    )


def set_aside(n: int) -> int:
    """Of n rows, how many decide when to stop: the others are learned from."""
    share = VALIDATION if n >= FEW else 2 * VALIDATION
    return min(int(n * share), VALIDATION_MOST) if n >= TINY else 0
