"""Arguments of trainings that take seconds or less."""

TRAIN = (
    "train",
    "--config=classify/digits_parcnet_xxs",
    "--model.name=test_parcnet",
    '--model.kwargs={"img_size": 32, "depths": [1, 1, 1]}',
    "--model.optimizer.lr=0.03",
    "--ema={decay: 0.5}",
    "--trainer.max_epochs=1",
)
BRIEF = (
    *TRAIN,
    "--model.name=test_parcnetv2",  # it has no batch norms, which take most of the time before the first step
    '--model.kwargs={"img_size": 32, "depths": [1, 1, 1, 1]}',
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.enable_progress_bar=false",
)
