from types import SimpleNamespace

from parckit.tasks import OptimizerSettings, ScheduleSettings
from parckit.tasks.patience import Patience


def test_a_run_that_may_not_end_yet_ends_only_if_patience_is_still_over_later():
    told: list[str] = []
    patience = Patience(2, monitor="val_loss", mode="min", tell=told.append)
    trainer = SimpleNamespace(should_stop=False, fit_loop=SimpleNamespace(_can_stop_early=False))

    def end_epoch(*, waited: int, may_end: bool) -> bool:
        patience.wait_count, trainer.fit_loop._can_stop_early = waited, may_end
        patience.on_train_epoch_end(trainer, None)
        return trainer.should_stop

    assert not end_epoch(waited=2, may_end=False)
    assert not end_epoch(waited=0, may_end=True)  # it has improved since
    assert not told
    assert end_epoch(waited=2, may_end=True)
    assert len(told) == 1
    assert not end_epoch(waited=0, may_end=True)


def test_the_least_number_of_epochs_is_trained(make_data, train):
    told: list[str] = []
    patience = Patience(1, monitor="val_top1", mode="max", tell=told.append)
    # A learning rate of almost 0 improves nothing.
    still = {"optimizer": OptimizerSettings(lr=1e-30), "schedule": ScheduleSettings(min_lr=0), "freeze_norms": True}
    trainer = train(make_data(), limits={"max_epochs": 6, "min_epochs": 4}, callbacks=[patience], **still)
    assert trainer.current_epoch == 4
    assert len(told) == 1
