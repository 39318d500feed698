"""Phantom images a second, every default acquisition effect on: 192×208 pixels, 3 sub-slices, two processes.

    python benchmarks/phantom.py [--subjects 6] [--workers 2]

Each subject has 4CH and 2CH of 20 frames and a SAX stack of 10 slices of 12 frames. Nothing is written. Compiling
and importing come before the clock starts; `peak_mb` is the largest resident memory, summed over the processes. The
processor's own time for an image is printed too: it hardly depends on what else the machine does.
"""

import argparse
import multiprocessing
import resource
import sys
import time

import cv2

from cmrlib.phantom import Heart, Protocol, Scan, sample_subject

SIZE, SPACING_MM, SUBSLICES = (192, 208), 1.8, 3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2, help="processes; 1 stays in this one")
    arguments = parser.parse_args()
    numbers = range(1, arguments.subjects + 1)
    if arguments.workers == 1:
        warm(0)
        start = time.perf_counter()
        done = [subject(number) for number in numbers]
    else:
        with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
            pool.map(warm, range(arguments.workers), 1)
            start = time.perf_counter()
            done = pool.map(subject, numbers, 1)
    seconds = time.perf_counter() - start
    images = sum(d[0] for d in done)
    peak = {process: mb for *_, process, mb in sorted(done, key=lambda d: d[3])}
    if arguments.workers > 1:
        peak["main"] = memory_mb()
    print(
        f"{images} images of {SIZE[0]}×{SIZE[1]}, {arguments.workers} processes, {seconds:.1f} s, "
        f"{1000 * sum(d[1] for d in done) / images:.2f} ms of processor time an image"
    )
    print(f"images_per_s={images / seconds:.1f} peak_mb={sum(peak.values()):.0f}")


def warm(_):
    """Import, compile, and hold the process long enough for the pool to start the other."""
    cv2.setNumThreads(1)
    Scan(Heart(sample_subject(1, 0)), Protocol(frames=2, size=(32, 32), spacing_mm=6.0)).cine("sax", "P")
    time.sleep(0.5)


def subject(number) -> tuple[int, float, str, float]:
    """Images made of one subject, processor seconds, the process's name, its peak memory in MB."""
    start, made = time.process_time(), 0
    heart = Heart(sample_subject(1, number))
    for views, frames, slices in ((("4ch", "2ch"), 20, None), (("sax",), 12, 10)):
        scan = Scan(heart, Protocol(frames, views, SIZE, SPACING_MM, slices, SUBSLICES))
        for view in views:
            cine, _ = scan.cine(view, "P")
            made += cine.frames * cine.slices
    return made, time.process_time() - start, multiprocessing.current_process().name, memory_mb()


def memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
