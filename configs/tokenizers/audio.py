"""The shipped audio tokenizer: 4 codes a frame of 20 ms (2 kbit/s), or 8 (4 kbit/s) of the same weights.

    UNITOK_DATA=DIR unitok fit --config=configs/tokenizers/audio.py --out=tokenizers/defaults/audio

Data under $UNITOK_DATA: training clips (index 5 and up) of three speakers of FSDD, fold 1 of ESC-10, two
music recordings; and 80 seconds of glides, tones and noises made here. Never fitted on: FSDD's speaker
theo, LJSpeech, fold 2 of ESC-10, the two other recordings. Licences: CC BY-SA 4.0 (FSDD, and so the
weights), CC BY 3.0 (ESC-10, the music fitted on), public domain (LJSpeech).
"""

import io
import os
import zipfile
from pathlib import Path

import numpy as np

from unitok.config import FitConfig, TokenizerConfig
from unitok.errors import InputError
from unitok.values import Audio

FITTED_SPEAKERS, HELD_OUT_SPEAKER, FIRST_TRAINING_CLIP = ("george", "jackson", "nicolas"), "theo", 5
FITTED_MUSIC = ("Kevin_MacLeod_-_Vibe_Ace.ogg", "sorohanro_-_solo-trumpet-06.ogg")
SYNTHETIC = 40  # pieces of two seconds


def get_config() -> TokenizerConfig:
    return TokenizerConfig(
        name="audio",
        options={
            "codes_per_frame": 4,
            "emphasis": [0.3, 0.3, 1.0, 0.3, 0.3, 0.3, 1.0],  # both rates count
            "speeds": [1.0, 1.2, 0.85, 1.4, 0.7],
        },
        fit=FitConfig(steps=400, batch_size=32, learning_rate=3e-3),
    )


def get_values() -> list[Audio]:
    speech = [sound for speaker in FITTED_SPEAKERS for sound in fsdd(speaker, training=True)]
    music = [sound for name, sound in music_clips().items() if name in FITTED_MUSIC]
    return speech + esc10(fold=1) + music + synthetic()


def get_held_out() -> list[Audio]:
    return [sound for sounds in held_out().values() for sound in sounds]


def held_out() -> dict[str, list[Audio]]:
    """By name, what was never fitted on: the sets that benchmarks/audio_tokenizer.py reports."""
    others = [sound for name, sound in music_clips().items() if name not in FITTED_MUSIC]
    return {
        "FSDD, speaker theo": fsdd(HELD_OUT_SPEAKER, training=False),
        "LJSpeech": ljspeech(),
        "ESC-10, fold 2": esc10(fold=2),
        "music": [part for sound in others for part in pieces(sound, seconds=10)],
    }


# ---- recordings --------------------------------------------------------------------------------


def fsdd(speaker: str, training: bool) -> list[Audio]:
    return list(fsdd_named(speaker, training).values())


def fsdd_named(speaker: str, training: bool) -> dict[str, Audio]:
    """Digits, 8 kHz, by DIGIT_SPEAKER_INDEX. The official split: clips 0 to 4 of each digit are for testing."""

    def wanted(name: str) -> bool:
        _, who, index = Path(name).stem.split("_")
        return who == speaker and (int(index) >= FIRST_TRAINING_CLIP) == training

    return recordings("fsdd/fsdd.zip", ".wav", wanted)


def esc10(fold: int) -> list[Audio]:
    """Ten kinds of sounds around us, 5 seconds each, 44.1 kHz."""
    named = lambda name: Path(name).name.startswith(f"{fold}-")  # noqa: E731
    return list(recordings("esc10/esc10.zip", ".ogg", named).values())


def ljspeech() -> list[Audio]:
    return list(recordings("ljspeech-mini/ljspeech-mini.zip", ".wav").values())


def music_clips() -> dict[str, Audio]:
    return recordings("music-clips/music-clips.zip", ".ogg")


def pieces(sound: Audio, seconds: int) -> list[Audio]:
    step = seconds * sound.rate
    starts = range(0, max(len(sound.samples) - step, 0) + 1, step)
    return [Audio(sound.samples[at : at + step], sound.rate) for at in starts]


def recordings(archive: str, suffix: str, wanted=lambda name: True) -> dict[str, Audio]:
    """By file name. Raises InputError where the archive is not there."""
    import soundfile

    file = Path(os.environ.get("UNITOK_DATA", "")) / archive
    if not file.is_file():
        raise InputError(f"{file}: not found; set UNITOK_DATA to the folder that holds {archive}")
    found = {}
    with zipfile.ZipFile(file) as opened:
        for name in sorted(n for n in opened.namelist() if n.endswith(suffix) and wanted(n)):
            samples, rate = soundfile.read(
                io.BytesIO(opened.read(name)), dtype="float32", always_2d=True
            )
            found[Path(name).name] = Audio(samples.mean(axis=1), rate)
    return found


# ---- made here ---------------------------------------------------------------------------------


def synthetic() -> list[Audio]:
    """What recordings have little of: pure tones at any pitch, wide glides, chords, filtered noise."""
    rng = np.random.default_rng(0)
    makers = (_chord, _glide, _noise)
    return [Audio(makers[i % len(makers)](rng), 16000) for i in range(SYNTHETIC)]


TIME = np.arange(32000) / 16000


def _chord(rng: np.random.Generator) -> np.ndarray:
    """One to four tones, each dying away at its own pace."""
    count = rng.integers(1, 5)
    pitches, paces = 60 * 2 ** rng.uniform(0, 6, count), rng.uniform(0.2, 4, count)
    tones = [
        np.exp(-pace * TIME) * np.sin(2 * np.pi * pitch * TIME + rng.uniform(0, 6))
        for pitch, pace in zip(pitches, paces)
    ]
    return (0.2 * sum(tones)).astype(np.float32)


def _glide(rng: np.random.Generator) -> np.ndarray:
    """Overtones of a pitch that wanders."""
    pitch = rng.uniform(70, 400) * 2 ** (0.5 * np.sin(2 * np.pi * rng.uniform(0.2, 2) * TIME))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    tilt = rng.uniform(0.7, 1.6)
    tones = sum(np.sin(k * phase + rng.uniform(0, 6)) / k**tilt for k in range(1, 16))
    return (0.1 * tones).astype(np.float32)


def _noise(rng: np.random.Generator) -> np.ndarray:
    """Noise whose spectrum is a random slope, swelling and fading."""
    spectrum = np.fft.rfft(rng.normal(0, 1, len(TIME)))
    spectrum *= (np.arange(len(spectrum)) + 200.0) ** -rng.uniform(0, 1.5)
    noise = np.fft.irfft(spectrum, len(TIME))
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.3, 3) * TIME)
    return (0.1 * swell * noise / noise.std()).astype(np.float32)
