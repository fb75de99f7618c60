"""What tools/lazyconfig_train_net.py needs beside model, optimizer and data; the names are Detectron2's, or new."""

train = dict(
    output_dir="./output",
    init_checkpoint="",
    max_iter=90000,
    seed=-1,
    second_stage="",  # "crt" or "lws": train the classifier alone, on the network of init_checkpoint
    accumulate=1,  # passes per optimiser step, which share dataloader.train.total_batch_size
    amp=dict(enabled=False, precision="float16"),
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    checkpointer=dict(period=5000, max_to_keep=100),
    eval_period=30000,
    log_period=20,
    wandb_project="",  # of Weights & Biases, for the log; empty: none
    clip_norm=0.0,  # clip the gradient of each parameter to this norm; 0: no clipping
    device="cuda",
)
