"""Run a function in several processes of one gloo group, as training does.

The processes are forked, because to start Python and import torch takes seconds; but from a server that has only
imported: a process that has computed gradients may not be able to fork processes that compute gradients.
"""

import multiprocessing

import torch
from detectron2.utils import comm
from torch import distributed


def _work(rank, size, store, function, args):
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    comm.create_local_process_group(size)
    try:
        function(*args)
    finally:
        distributed.destroy_process_group()


def in_processes(size, folder, function, *args):
    """Run ``function(*args)`` in each of `size` processes, which exchange their addresses in `folder`."""
    store = folder / "gloo_store"
    store.unlink(missing_ok=True)  # of an earlier call
    work = (size, store, function, args)
    multiprocessing.get_context("forkserver").set_forkserver_preload(["lt_det.training"])
    torch.multiprocessing.start_processes(_work, args=work, nprocs=size, start_method="forkserver")
