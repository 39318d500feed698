"""What a profile's `cost` says of disk and time, told before anything starts."""

import shutil
from pathlib import Path

from cmrlib.app.runs.parameters import Profile, UsageError


def announce(profile: Profile, folder: Path, notebooks=()):
    """Print disk and hours of these notebooks (default: all of the profile) that have not been run in `folder`.

    Raises UsageError where the disk has less room.
    """
    asked = [name for name in notebooks or profile.cost if name in profile.cost]
    left = {name: profile.cost[name] for name in asked if not (folder / name / "manifest.json").exists()}
    if not left:
        return
    gb, hours = (sum(column) for column in zip(*left.values()))
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free_gb = shutil.disk_usage(there).free / 1e9
    print(f"profile {profile.name} needs about {gb:.0f} GB of disk and {hours:.0f} hours of one GPU (A100):")
    print("\n".join(f"  {name}: {one_gb:.0f} GB, {h:.0f} h" for name, (one_gb, h) in left.items()), flush=True)
    if free_gb < gb:
        raise UsageError(
            f"{folder} has room for {free_gb:.0f} GB, about {gb:.0f} GB are needed; choose another folder by --runs, "
            "or run notebooks one at a time with fewer subjects by -p"
        )
