import importlib.metadata

import pytest
import pytorch_lightning as pl

from jsc.fit import lightning_internals
from jsc.fit.lightning_noise import quieten_lightning


def test_lightning_still_has_the_names() -> None:
    quieten_lightning()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    version = importlib.metadata.version("pytorch-lightning")
    try:
        lightning_internals.count_chunk(trainer, 5)
        lightning_internals.adopt_step_count(trainer)
    except AttributeError as error:
        pytest.fail(f"pytorch-lightning {version} lost a name that jsc.fit.lightning_internals uses: {error}")
    assert trainer.global_step == 5
