"""What tools/lazyconfig_train_net.py needs besides model, optimizer and data; the names are Detectron2's, or new."""

train = dict(
    output_dir="./output",
    init_checkpoint="",
    max_iter=90000,
    seed=-1,
    second_stage="",  # decoupled training, "crt" or "lws", of the network of init_checkpoint
    accumulate=1,  # passes per optimizer step; dataloader.train.total_batch_size is the images of all of them
    amp=dict(enabled=False, precision="float16"),
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    checkpointer=dict(period=5000, max_to_keep=100),
    eval_period=30000,
    log_period=20,
    wandb_project="",  # Weights & Biases project that the log also goes to; empty: none
    clip_norm=0.0,  # clip the gradient of each parameter to this norm; 0: no clipping
    device="cuda",
)
