"""The audio tokenizer beside Opus on sound it never saw, a digit classifier on its output, and its speed beside EnCodec.

    UNITOK_DATA=DIR python benchmarks/audio_tokenizer.py [--items=20] [--tokenizer=DIR] [--only=rates,digits,speed]

rates: SI-SDR, log-mel distance and STOI (extra `audio`: pystoi, PyAV) at 2 and 4 kbit/s, and of Opus at 6 to 24
(payload bits, constant rate, without a container), means over `items` recordings of each held-out set of
configs/tokenizers/audio.py. Claims checked: at 4 kbit/s at least the SI-SDR of Opus at 6.
digits: logistic regression on log-mel means, trained on real FSDD (training clips of all speakers), asked
about theo's test clips, real and reconstructed. Claim: 90 % of its accuracy stays.
speed: encoding 10 seconds in a batch of 4, seconds of audio a second, on one core, beside EnCodec 24 kHz
(transformers' EncodecModel of the default configuration, random weights) in turns. Claim: twice as fast.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from unitok import tokenizers
from unitok.configs.tokenizers import audio as recipe
from unitok.eval import classical
from unitok.eval.fidelity import intelligibility
from unitok.metrics.audio import log_mel, log_mel_distance, si_sdr
from unitok.tokenizers.audio import at_16_khz
from unitok.values import Audio

OPUS_RATES = (6, 8, 12, 16, 24)
ROUNDS = 7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=20, help="recordings of each set")
    parser.add_argument("--tokenizer", help="a fitted folder, instead of the shipped one")
    parser.add_argument("--only", default="rates,digits,speed")
    flags = parser.parse_args()
    low = tokenizers.load(flags.tokenizer) if flags.tokenizer else tokenizers.build("audio")
    both = {2: low.at_rate(4), 4: low.at_rate(8)}
    parts: dict[str, Callable[[], bool]] = {
        "rates": lambda: rates(both, flags.items),
        "digits": lambda: digits(both),
        "speed": lambda: speed(both),
    }
    chosen = flags.only.split(",")
    if not os.environ.get("UNITOK_DATA") and set(chosen) - {"speed"}:
        print(
            "skipped: set UNITOK_DATA to the folder that holds fsdd/, esc10/, ljspeech-mini/, music-clips/"
        )
        chosen = ["speed"]
    results = [parts[name]() for name in chosen]  # all of them, whatever fails
    return 0 if all(results) else 1


# ---- fidelity at rate --------------------------------------------------------------------------


def rates(both: dict[int, Any], items: int) -> bool:
    holds = True
    for name, sounds in recipe.held_out().items():
        step = max(1, len(sounds) // items)
        values = [Audio(at_16_khz(sound), 16000) for sound in sounds[::step][:items]]
        seconds = sum(value.seconds for value in values)
        print(f"\n{name}: {len(values)} recordings, {seconds:.0f} s")
        print(f"{'codec':<22}{'kbit/s':>8}{'SI-SDR dB':>11}{'log-mel':>9}{'STOI':>7}")
        found = {}
        for rate, tokenizer in both.items():
            backs = tokenizer.decode_batch(tokenizer.encode_batch(values))
            bits = sum(tokenizer.bits_per_item(value) for value in values)
            found[f"UniTok {rate}"] = row(
                f"UniTok, {2 * rate} codes", bits / seconds, values, backs
            )
        for rate in OPUS_RATES:
            coded = [classical.opus(value, 1000 * rate * value.seconds) for value in values]
            if None in coded:
                print("Opus: pip install av")
                return False
            bits = sum(spent for spent, _ in coded)
            found[f"Opus {rate}"] = row("Opus", bits / seconds, values, [b for _, b in coded])
        holds &= found["UniTok 4"] >= found["Opus 6"]
    return verdict(holds, "4 kbit/s reaches the SI-SDR of Opus at 6 kbit/s on every set")


def row(label: str, rate: float, values: list[Audio], backs: list[Audio]) -> float:
    """Prints the means, gives that of SI-SDR."""
    pairs = [(v.samples, b.samples) for v, b in zip(values, backs) if np.ptp(v.samples) > 0]
    ratio = float(np.mean([si_sdr(a, b) for a, b in pairs]))
    mel = float(np.mean([log_mel_distance(a, b, 16000) for a, b in pairs]))
    heard = [score for a, b in pairs if (score := intelligibility(a, b, 16000)) is not None]
    shown = f"{np.mean(heard):.3f}" if heard else "-"
    print(f"{label:<22}{rate / 1000:>8.2f}{ratio:>11.2f}{mel:>9.3f}{shown:>7}", flush=True)
    return ratio


# ---- digits ------------------------------------------------------------------------------------


def digits(both: dict[int, Any]) -> bool:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def spoken(training: bool, speakers: tuple[str, ...]) -> tuple[list[Audio], list[int]]:
        named = {}
        for speaker in speakers:
            named.update(recipe.fsdd_named(speaker, training))
        return list(named.values()), [int(name[0]) for name in named]

    theo = recipe.HELD_OUT_SPEAKER
    clips, labels = spoken(True, (*recipe.FITTED_SPEAKERS, theo))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    model.fit([features(clip) for clip in clips], labels)
    clips, labels = spoken(False, (theo,))
    real = model.score([features(clip) for clip in clips], labels)
    print(
        f"\ndigit classifier on {theo}'s {len(clips)} test clips: {100 * real:.1f} % on the recordings"
    )
    holds = True
    for rate, tokenizer in both.items():
        backs = tokenizer.decode_batch(tokenizer.encode_batch(clips))
        found = model.score([features(back) for back in backs], labels)
        print(f"at {rate} kbit/s {100 * found:.1f} %, {100 * found / real:.1f} % of it")
        holds &= found >= 0.9 * real or rate < 4
    return verdict(holds, "at 4 kbit/s the classifier keeps 90 % of its accuracy")


def features(sound: Audio) -> np.ndarray:
    """Log-mel of 19 groups of bands below 4 kHz, at 10 moments spread over the clip, [190]."""
    mel_MN = log_mel(at_16_khz(sound), 16000)[:57].reshape(19, 3, -1).mean(axis=1)
    moments = np.linspace(0, mel_MN.shape[1] - 1, 10)
    return np.concatenate([np.interp(moments, np.arange(len(band)), band) for band in mel_MN])


# ---- speed -------------------------------------------------------------------------------------


def speed(both: dict[int, Any]) -> bool:
    """Each process of its own would be fairer still; here both stand on one core, in turns."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng = np.random.default_rng(0)
    seconds, batch = 10, 4
    wave = rng.normal(0, 0.1, (batch, 24000 * seconds)).astype(np.float32)
    values = [Audio(one[: 16000 * seconds], 16000) for one in wave]
    runs = {f"UniTok {rate} kbit/s": lambda t=t: t.encode_batch(values) for rate, t in both.items()}
    try:
        import torch
        from transformers import EncodecConfig, EncodecModel

        torch.set_num_threads(1)
        peer, batch_BCT = EncodecModel(EncodecConfig()).eval(), torch.from_numpy(wave[:, None])

        def encodec() -> None:
            with torch.no_grad():
                peer.encode(batch_BCT)

        runs["EnCodec 24 kHz"] = encodec
    except ImportError:
        print("EnCodec: pip install torch transformers")
    for run in runs.values():
        run()  # compile, warm up
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.process_time()
            run()
            took[name].append(time.process_time() - start)
    print("\nencoding, seconds of audio a CPU second on one core, median of", ROUNDS)
    for name, times in took.items():
        print(f"{name:<20}{seconds * batch / np.median(times):>8.1f}")
    if "EnCodec 24 kHz" not in took:
        return True
    ratios = {
        name: float(np.median(np.divide(took["EnCodec 24 kHz"], times)))
        for name, times in took.items()
    }
    print("times EnCodec: " + ", ".join(f"{name} {ratio:.1f}" for name, ratio in ratios.items()))
    return verdict(ratios["UniTok 4 kbit/s"] >= 2, "at least twice as fast as EnCodec")


def verdict(holds: bool, claim: str) -> bool:
    print(f"{'holds' if holds else 'FAILS'}: {claim}")
    return bool(holds)


if __name__ == "__main__":
    sys.exit(main())
