"""Trace and top eigenvalue of a Hessian H of which only products H v are known."""

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

KRYLOV = 12  # vectors that Lanczos keeps; 12 of ResNet-50's take 1.1 GB


def trace_samples(product, size, probes, rng):
    """v' H v for random v of -1 and 1, whose mean is the trace of H (Hutchinson, 1990): (probes,) float64.

    Args:
        product: function of v (size,) to H v.
        size: of v.
        probes: how many.
        rng: `np.random.Generator`.
    """
    draws = (rng.choice((-1.0, 1.0), size) for _ in range(probes))
    return np.array([v @ product(v) for v in draws])


def top_eigenvalue(product, size, rng, tolerance=0.01):
    """The largest eigenvalue of H, by Lanczos' method, to a relative `tolerance`; other arguments as for `trace_samples`."""
    operator = LinearOperator((size, size), matvec=product, dtype=np.float32)
    start = rng.standard_normal(size)
    found = eigsh(operator, k=1, which="LA", v0=start, ncv=min(size, KRYLOV), tol=tolerance, return_eigenvectors=False)
    return float(found[0])
