"""Defaults of the ``train`` node for tools/lazyconfig_train_net.py: Detectron2's keys and lt_det's own."""

train = dict(
    output_dir="./output",
    init_checkpoint="",
    max_iter=90000,
    seed=-1,
    second_stage="",  # decoupled training of the detector in init_checkpoint: "crt", "lws" or "meta"; empty: off
    meta_method="balms",  # what "meta" learns, from the images of dataloader.meta
    accumulate=1,  # passes per optimizer step; dataloader.train.total_batch_size counts the images of all passes
    amp=dict(enabled=False, precision="float16"),
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    checkpointer=dict(period=5000, max_to_keep=100),
    best_checkpoint=dict(metric="", mode="auto"),  # kept as model_best.pth, such as "bbox/APr"; empty: off
    early_stopping=dict(patience=0, min_delta=0.0),  # in evaluations without a better value of that metric; 0: off
    ema=dict(enabled=False, decay=0.9998),  # exponential moving average of the weights
    val_loss=False,  # also compute the training losses on the test set, at each evaluation in training
    compile=False,  # compile the backbone with torch.compile
    eval_period=30000,
    log_period=20,
    wandb_project="",  # also log to this Weights & Biases project; empty: off
    clip_norm=0.0,  # clip the gradient of each parameter to this norm; 0: no clipping
    device="cuda",
)
