import numpy as np

from denoisetool.photo import widened


def test_widened_is_exact_for_every_finite_half() -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)].reshape(-1, 64, 1)
    found = widened(finite)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, finite.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(found), np.signbit(finite))
