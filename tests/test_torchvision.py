"""The import hook for torchvision, each case in an interpreter of its own: imports cannot be undone."""

import subprocess
import sys

import pytest


def python(code, cwd=None):
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fake_torchvision(folder, init):
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "part.py").write_text("value = 1\n")
    (folder / "torchvision" / "__init__.py").write_text(init)
    return f"import sys, cmrlib; sys.path.insert(0, {str(folder)!r}); "


def test_fastai_vision_imports_after_cmrlib():
    code = "import cmrlib, fastai.vision.learner, torchvision; "
    assert python(code + "print(torchvision.models.alexnet().features[0].out_channels)") == "64"


def test_import_of_cmrlib_touches_neither_torch_nor_torchvision():
    assert python("import sys, cmrlib; print([m for m in sys.modules if m.startswith('torch')])") == "[]"


def test_missing_operators_are_declared_and_the_import_repeated(tmp_path):
    init = (
        "import torch, torchvision.part\n"
        "if not torch._C._dispatch_has_kernel_for_dispatch_key('torchvision::nms', 'Meta'): pass\n"
        "import sys; fresh = sys.modules['torchvision.part']\n"
    )
    code = fake_torchvision(tmp_path, init) + (
        "import torchvision, torch; print(torchvision.fresh.value, hasattr(torch.ops.torchvision, 'qnms'))"
    )
    assert python(code) == "1 True"


@pytest.mark.parametrize("error", ["", "RuntimeError('out of memory')", "ImportError('no libc')"])
def test_native_installations_and_other_errors_are_left_alone(tmp_path, error):
    init = "runs = globals().get('runs', 0) + 1\n" + (f"raise {error}\n" if error else "")
    code = fake_torchvision(tmp_path, init) + (
        "\ntry: import torchvision; print(torchvision.runs, 'torch' in sys.modules)"
        "\nexcept Exception as e: print(repr(e), 'torch' in sys.modules)"
    )
    assert python(code) == f"{error or 1} False"


def test_absent_torchvision_is_an_ordinary_import_error():
    code = "import sys, cmrlib; sys.path[:] = []\ntry: import torchvision\nexcept ModuleNotFoundError as e: "
    assert python(code + "print(e.name)") == "torchvision"


def test_installed_once():
    code = "import sys, importlib, cmrlib; importlib.reload(cmrlib); "
    assert python(code + "print(sum('_Finder' in str(finder) for finder in sys.meta_path))") == "1"
