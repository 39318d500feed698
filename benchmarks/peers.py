"""Seconds from file to mask of an ACDC patient's ED and ES: ours against nnU-Net's 2D and 3D plans and myopari.

    pip install -e ".[peers]" && pip install --no-deps myopari
    python benchmarks/peers.py [--patient patient001] [--threads 2] [--rounds 5] [--clock processor] [--dice]

All read the same two files and end with two label maps on the files' grid; models are loaded before, but for myopari,
which loads its network with every volume. Rounds take turns, medians are printed. nnU-Net: its own package, whose
predictor crops, resamples, slides its window and resamples back; the networks of its plans for ACDC by
dynamic-network-architectures, with random weights (seconds do not depend on them), one fold of its five. myopari: its
ONNX network on the processor, without the window that its package brings. CineMA is in no package registry.

Nobody searches for an orientation: the files are taken to be stored as radiology shows them, as the others do.
`vs_nnunet2d` compares one pass with one pass, `vs_nnunet2d_default` three passes of ours with nnU-Net's mirroring.
--clock processor counts the processor's seconds of all threads, for a machine that others use. --dice: myopari on the
test patients of fold 0 too (--rounds 0: nothing else), beside our networks that had not seen them; what
myopari learned from is not stated (its name says ACDC), so its number may be flattered.
"""

import argparse
import contextlib
import io
import os
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pandas as pd
import torch

from cmrlib.agreement.overlap import dice
from cmrlib.cine import Cine
from cmrlib.cine.display import DISPLAYS
from cmrlib.cohort.splits import committed_list
from cmrlib.datasets.volumes import read_volume
from cmrlib.learning.inference import optimise_for_inference
from cmrlib.learning.task import Task
from cmrlib.learning.training import set_threads_and_seed
from cmrlib.learning.weightsets import N_TTA, network

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
SPACING_MM, PATCH = (5.0, 1.5625, 1.5625), (20, 256, 224)
"""Of nnU-Net's plans for ACDC (Isensee et al., Nature Methods 2021, supplement); 2D leaves out the first."""
BATCH = {"2d": 58, "3d_fullres": 3}
RECORD = Path(__file__).parents[1] / "figures" / "record" / "acdc_folds_01_segmentation_rows.csv"
MYOPARI = (found := find_spec("myopari")) and Path(found.origin).parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acdc", type=Path, default=Path(os.environ.get("CMR_DATA_DIR", ".")) / "acdc")
    parser.add_argument("--patient", default="patient001")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--cine", type=int, default=0, help="also ours on a cine of so many frames, made of the two")
    parser.add_argument("--dice", action="store_true")
    given = parser.parse_args()
    set_threads_and_seed(0, given.threads)
    files = frames_of(given.acdc, given.patient)
    ways = {"ours": partial(ours(), files, 1), "ours_default": partial(ours(), files, N_TTA)}
    if find_spec("nnunetv2"):
        ways |= {"nnunet2d": partial(nnunet("2d"), files), "nnunet2d_default": partial(nnunet("2d", True), files)}
        ways |= {"nnunet3d": partial(nnunet("3d_fullres"), files)}
    if MYOPARI and find_spec("onnxruntime"):
        ways |= {"myopari": partial(myopari, files)}
    if given.cine:
        ways |= {f"ours_{given.cine}_frames": partial(ours(), files * (given.cine // 2), N_TTA)}
    if given.dice:
        print(dice_table(given.acdc).round(3).to_string())
    if not given.rounds:
        return
    seconds = timed(ways, given.rounds, CLOCKS[given.clock])
    print(f"{given.patient}, {nib.load(files[0]).shape}, {given.threads} threads, {given.clock} clock: {seconds}")
    ratio = {name: seconds.get(f"nnunet2d{name}", np.nan) / seconds[f"ours{name}"] for name in ("", "_default")}
    shown = [f"{name}_seconds={seconds.get(name, np.nan):.3f}" for name in ("ours", "nnunet2d", "nnunet3d", "myopari")]
    print(" ".join(shown), " ".join(f"vs_nnunet2d{name}={value:.2f}" for name, value in ratio.items()))


def frames_of(acdc, patient) -> list[Path]:
    """ED's and ES's file. Raises FileNotFoundError where they are not there."""
    found = [p for p in sorted(acdc.rglob(f"{patient}_frame*.nii*")) if "_gt" not in p.name]
    if len(found) != 2:
        raise FileNotFoundError(f"{acdc} holds {len(found)} frames of {patient}, expected ED and ES: name --acdc")
    return found


def timed(ways, rounds, clock) -> dict[str, float]:
    """Median seconds of each way; the first round is not counted."""
    taken = {name: [] for name in ways}
    for n in range(rounds + 1):
        for name, way in list(ways.items())[:: 1 if n % 2 else -1]:
            start = clock()
            with contextlib.redirect_stdout(io.StringIO()):
                way()
            taken[name] += [clock() - start] if n else []
            print(f"round {n} {name} {clock() - start:.3f}", flush=True)
    return {name: round(float(np.median(values)), 3) for name, values in taken.items()}


def ours():
    """(files, n_tta) → labels (frames, slices, rows, columns), by the shipped SAX network."""
    task, models, _ = Task.load(network("real", "sax"))
    models = [optimise_for_inference(model) for model in models]
    across, down = map(np.array, DISPLAYS["sax"])
    towards = np.cross(down, across)

    def predict(files, n_tta):
        volumes = [read_volume(path) for path in files]
        steps = np.linalg.norm(volumes[0].affine[:3, :3], axis=0)
        affine = np.eye(4)
        affine[:3, :3] = np.stack([x / np.linalg.norm(x) for x in (across, down, towards)], 1) * steps
        cine = Cine(np.concatenate([one.pixels for one in volumes]), affine, "sax", "peer")
        return task.segment(models, cine, n_tta=n_tta)[0]

    return predict


def nnunet(configuration: str, mirror: bool = False):
    """files → labels of each, by nnU-Net's predictor with random weights."""
    from dynamic_network_architectures.building_blocks.helper import convert_dim_to_conv_op, get_matching_instancenorm
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    flat = configuration == "2d"
    spacing, patch = (SPACING_MM[1:], PATCH[1:]) if flat else (SPACING_MM, PATCH)
    _, strides, kernels, patch, _ = get_pool_and_conv_props(spacing, patch, 4, 999999)
    stages, dimensions = len(strides), len(patch)
    layers = convert_dim_to_conv_op(dimensions), get_matching_instancenorm(dimension=dimensions)
    convolution, norm = (f"{one.__module__}.{one.__name__}" for one in layers)
    architecture = {
        "n_stages": stages,
        "features_per_stage": [min(32 * 2**n, 512 if flat else 320) for n in range(stages)],
        "conv_op": convolution,
        "kernel_sizes": kernels,
        "strides": strides,
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": norm,
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    } | dict.fromkeys(("dropout_op", "dropout_op_kwargs"))
    imported = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    name = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    model = get_network_from_plans(name, architecture, imported, 1, 4, True, False)
    plans = PlansManager(_plans(configuration, list(patch), list(spacing), name, architecture, imported))
    dataset = {"labels": {"background": 0, "rv": 1, "myo": 2, "lv": 3}, "channel_names": {"0": "MRI"}}
    predictor = nnUNetPredictor(use_mirroring=mirror, device=torch.device("cpu"), allow_tqdm=False)
    axes = tuple(range(dimensions)) if mirror else None
    known = model.eval(), plans, plans.get_configuration(configuration), [model.state_dict()], dataset
    predictor.manual_initialization(*known, "nnUNetTrainer", axes)

    def predict(files):
        images = [nib.load(path) for path in files]
        zooms = [list(map(float, image.header.get_zooms()[2::-1])) for image in images]
        return [
            predictor.predict_single_npy_array(np.asarray(image.dataobj, np.float32).T[None], {"spacing": mm})
            for image, mm in zip(images, zooms)
        ]

    return predict


def _plans(configuration, patch, spacing, network_class, architecture, imported) -> dict:
    """What nnU-Net's planner writes, as far as its predictor reads it."""
    resampling = {"force_separate_z": None, "order_z": 0}
    made = {
        "preprocessor_name": "DefaultPreprocessor",
        "data_identifier": f"nnUNetPlans_{configuration}",
        "batch_size": BATCH[configuration],
        "patch_size": patch,
        "spacing": spacing,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": network_class,
            "arch_kwargs": architecture,
            "_kw_requires_import": imported,
        },
    }
    for what, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        made[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        made[f"resampling_fn_{what}_kwargs"] = {"is_seg": what == "seg", "order": order} | resampling
    return {
        "dataset_name": "Dataset027_ACDC",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": {}},
        "configurations": {configuration: made},
    }


def myopari(files, turned=False) -> list[np.ndarray]:
    """Labels (columns, rows, slices) of each file, in ACDC's codes: RV 1, myocardium 2, LV 3."""
    package = sys.modules.setdefault("myopari", ModuleType("myopari"))  # its own __init__ opens a window's toolkit
    package.__path__ = [str(MYOPARI)]
    from myopari.processors.SEGProcessor import EdgeDevice, SEG_module

    module = SEG_module()
    module.edge_device = EdgeDevice.RASBERRY_PI.value  # its name for the processor alone
    volumes = [np.asarray(nib.load(path).dataobj, np.float32) for path in files]
    if turned:
        return [module.segment(volume.swapaxes(0, 1)).swapaxes(0, 1) for volume in volumes]
    return [module.segment(volume) for volume in volumes]


def dice_table(acdc) -> pd.DataFrame:
    """Mean Dice of LV, myocardium and RV over the test patients of fold 0: myopari's, of the order of axes that serves
    the first three of them better, and beside it that of our networks that had not seen them, from the record."""
    folds = pd.read_csv(committed_list("acdc"), sep="\t")
    patients = sorted(folds.loc[folds["fold"] == 0, "participant_id"])
    scores = {}
    for turned in (False, True):
        scores[turned] = [patient_dice(acdc, patient, turned) for patient in patients[:3]]
    turned = max(scores, key=lambda one: np.nanmean(scores[one]))
    rest = [patient_dice(acdc, patient, turned) for patient in patients[3:]]
    rows = pd.read_csv(RECORD)
    rows = rows[rows["participant_id"].isin(patients) & (rows["level"] == "all")]
    ours = rows.groupby("structure")["dice"].mean()[["lv", "myo", "rv"]]
    table = pd.DataFrame({"myopari": np.nanmean([*scores[turned], *rest], axis=(0, 1)), "ours": ours})
    return table.T.assign(mean=table.mean(), n=len(patients))


def patient_dice(acdc, patient, turned) -> list[list[float]]:
    """myopari's Dice of LV, myocardium and RV at ED and at ES."""
    files = frames_of(acdc, patient)
    truth = [np.asarray(nib.load(str(path).replace(".nii", "_gt.nii")).dataobj) for path in files]
    return [[dice(a.T, b.T, code) for code in (3, 2, 1)] for a, b in zip(myopari(files, turned), truth)]


if __name__ == "__main__":
    main()
