"""PSNR, SSIM and mask IoU against numbers known by hand and against scikit-image."""
import math

import numpy as np
import pytest
import torch

from asset3d.metric.base import Comparison
from asset3d.metric.iou import Iou, IouConfig, mask_iou
from asset3d.metric.psnr import Psnr, PsnrConfig, psnr
from asset3d.metric.ssim import Ssim, SsimConfig, ssim
from asset3d.registry import components


def images(shape=(2, 24, 31, 3), dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(shape, generator=generator, dtype=dtype)
    return a, (a + 0.1 * torch.randn(shape, generator=generator, dtype=dtype)).clamp(0, 1)


def test_psnr_of_a_known_error():
    a = torch.zeros(2, 4, 5, 3)
    b = a.clone()
    b[0] = 0.1
    assert psnr(a, b).tolist() == pytest.approx([20, 100])


def test_psnr_over_chosen_pixels():
    a, where = torch.zeros(1, 4, 4, 3), torch.zeros(1, 4, 4, 1, dtype=torch.bool)
    b = a.clone()
    b[:, 0, 0], where[:, 0, :2] = 0.1, True
    assert psnr(a, b, where).item() == pytest.approx(10 * math.log10(200))
    assert psnr(a, b, torch.zeros_like(where)).item() == pytest.approx(100)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_other_shapes_are_refused(metric):
    with pytest.raises(ValueError, match=r"\(1, 16, 16, 3\) and \(1, 16, 17, 3\)"):
        metric(torch.zeros(1, 16, 16, 3), torch.zeros(1, 16, 17, 3))


def test_ssim_is_the_one_of_scikit_image():
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    a, b = images()
    expected = [structural_similarity(x, y, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5,
                                      use_sample_covariance=False) for x, y in zip(a.numpy(), b.numpy())]
    np.testing.assert_allclose(ssim(a, b).numpy(), expected, rtol=1e-12)
    # float32: variances are differences of squares, 1e-7 of 1 against C2 of 9e-4
    np.testing.assert_allclose(ssim(a.float(), b.float()).numpy(), expected, atol=1e-4)


def test_ssim_of_equal_images_is_one_and_its_gradient_is_right():
    a, b = images((1, 12, 13, 2))
    assert ssim(a, a).tolist() == pytest.approx([1])
    assert torch.autograd.gradcheck(ssim, (a.requires_grad_(), b.requires_grad_()), fast_mode=True)


@pytest.mark.parametrize("rows", [1, 2, 10])
def test_ssim_of_an_image_smaller_than_the_window(rows):
    a, b = images((2, rows, 20, 3))
    assert ssim(a, a).tolist() == pytest.approx([1, 1]) and (ssim(a, 1 - a) < 0.9).all()


def test_ssim_refuses_an_image_without_pixels():
    with pytest.raises(ValueError, match="at least one pixel"):
        ssim(torch.zeros(1, 0, 20, 3), torch.zeros(1, 0, 20, 3))


def test_mask_iou():
    a, b = torch.zeros(2, 4, 4, 1), torch.zeros(2, 4, 4, 1)
    a[0, :2], b[0, 1:3] = 1, 0.6
    assert mask_iou(a, b).tolist() == pytest.approx([1 / 3, 1])


def test_registered_metrics_name_their_numbers():
    a, b = images(dtype=torch.float32)
    alpha = torch.ones(2, 24, 31, 1)
    comparison = Comparison(a, alpha, b, alpha)
    numbers = {}
    for metric in (Psnr(PsnrConfig()), Ssim(SsimConfig()), Iou(IouConfig())):
        numbers |= metric(comparison)
    assert numbers["psnr"] == pytest.approx(psnr(a, b).mean().item())
    assert numbers["psnr_object"] == pytest.approx(numbers["psnr"], rel=1e-5)
    assert numbers["ssim"] == pytest.approx(ssim(a, b).mean().item()) and numbers["mask_iou"] == 1
    assert {"psnr", "ssim", "iou"} <= components("metric").keys()
