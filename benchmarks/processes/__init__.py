"""Trainings side by side in processes of one thread each: on two cores faster than one after another with two threads."""

import concurrent.futures
import multiprocessing
import os

from egokeras.data.worker_pool import end_with_parent


def in_processes(function, calls, workers):
    """Yield (arguments, result) as calls end.

    Args:
        function: at the top of a module.
        calls: arguments of each.
        workers: processes; 0 calls one after another in this one.
    """
    if not workers:
        yield from ((arguments, function(*arguments)) for arguments in calls)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_worker) as pool:
        futures = {pool.submit(function, *arguments): arguments for arguments in calls}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def prepare_worker():
    """A worker trains with one thread, and ends when the process that started it does."""
    end_with_parent()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
