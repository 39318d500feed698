"""A source of tiny hearts for tests of large studies, and untrained networks that look at them."""

import nibabel as nib
import numpy as np


def write_heart(source, name, seed=0, broken=False):
    """One person's short-axis cine: a bright disc that shrinks and grows."""
    folder = source / name
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:48, :48]
    radius = 9 + 3 * np.cos(2 * np.pi * np.arange(8) / 8)
    disc = np.hypot(rows - 24, columns - 20 - seed % 5)[..., None] < radius  # (rows, columns, frames)
    pixels = np.random.default_rng(seed).normal(100, 10, (48, 48, 3, 8)) + 300 * disc[:, :, None]
    image = nib.Nifti1Image(pixels.astype(np.int16), np.diag([2.0, 2.0, 10.0, 1.0]))
    image.header["pixdim"][4] = 50
    image.header.set_xyzt_units("mm", "msec")
    nib.save(image, folder / "sax.nii")
    if broken:
        (folder / "sax.nii").write_bytes(b"no image")


def small_heartmae(**fields):
    """A task of clips of 8 frames and 32 pixels a side."""
    from cmrlib.papers.heartmae import HeartMAE

    sizes = {"size": 32, "frames": 8, "crop_low": 48, "crop_high": 64, "patch": 8, "tubelet": 4, "repeats": 2}
    encoder = {"width": 16, "depth": 2, "heads": 2}
    return HeartMAE(**sizes | encoder | {"decoder_width": 8, "decoder_depth": 2, "decoder_heads": 2} | fields)


def save_segmentation(path, lv=20.0, spacing_mm=3.2, size=64, views=("sax",), width=4, seed=0, **card):
    """Save an untrained network; lv: by how much it is inclined to see an LV. Returns (task, model)."""
    import torch

    from cmrlib.papers.ternausnet import Segmentation

    torch.manual_seed(seed)
    task = Segmentation(views, spacing_mm, size, size, width)
    model = task.network()
    model.head.bias.data[1] += lv
    task.save(model, path, **card)
    return task, model


def small_networks(folder) -> dict:
    """weights, encoder: folders of untrained networks."""
    save_segmentation(folder / "weights" / "sax", lv=2, spacing_mm=3.0, size=32)
    task = small_heartmae(patch=16)
    task.save(task.network(), folder / "encoder" / "plain", cohort="none", synthetic=True)
    return {"weights": str(folder / "weights"), "encoder": str(folder / "encoder")}
