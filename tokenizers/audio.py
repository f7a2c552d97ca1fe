"""Sound as tokens: MDCT frames of 20 ms, each a few codes; loudness and exact length travel inside.

16 kHz mono. Other rates are resampled (soxr), and what `decode` gives is at 16 kHz; stereo is mixed where
files are read. A sound is divided by its loudness, so that gain changes nothing but the loudness token;
its 320 MDCT coefficients a frame go through a residual quantizer (audio_codec.py) of Q codes of 1,024 each:
Q = 4 is 2 kbit/s, Q = 8 is 4 kbit/s, at 50 frames a second. The layout is in audio_grammar.py.

Legend: T samples, F frames, N coefficients a frame, Q codes a frame, G frames of one program call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import jax
import numpy as np

from unitok.tokenizers import audio_codec as codecs
from unitok.tokenizers.audio_grammar import (
    CODES,
    FIRST_CODE,
    FRAME,
    HEADER,
    HEADER_BITS,
    LOUDNESS_LEVELS,
    MAX_FRAMES,
    AudioGrammar,
    header_ids,
    parse_header,
    positions_of,
)
from unitok.tokenizers.base import BaseTokenizer
from unitok.tokenizers.mdct import imdct, mdct
from unitok.values import Audio, ValueRefused

RATE = 16000
SLOWEST, FASTEST = 1000, 1_000_000  # rates that are resampled
MAX_LENGTH = MAX_FRAMES * FRAME  # samples: 87 minutes
STEP_DB, QUIETEST_DB = (
    0.5,
    -104.0,
)  # loudness level k stands for QUIETEST_DB + k * STEP_DB; 0 is silence
GROUP = 128  # frames a program call takes, always the same: codes never depend on the batch


class AudioTokenizer(BaseTokenizer):
    """Sound to codes and back, at exactly its length. Lossy: SI-SDR at rate is in the model card.

    codes_per_frame: 4 (2 kbit/s) or 8 (4 kbit/s), or any other number from 2 that the weights reach to.
    Without `weights` it is unfitted: right in every
    length, but it only whispers. The weights are half precision from the beginning (what is saved
    is what encodes); arithmetic is float32 at full precision on every device.
    """

    name: ClassVar[str] = "audio"
    modality: ClassVar[str] = "audio"

    def __init__(
        self, *, codes_per_frame: int = 4, weights: Mapping[str, np.ndarray] | None = None
    ) -> None:
        if not isinstance(codes_per_frame, int) or not 2 <= codes_per_frame <= 32:
            raise ValueError(f"audio.codes_per_frame: want 2..32, got {codes_per_frame!r}")
        self.codes_per_frame = codes_per_frame
        self.num_codes = codes_per_frame * CODES
        self.size = FIRST_CODE + self.num_codes
        self._weights = dict(weights or codecs.initial_weights(codes_per_frame))
        self._params = codecs.full_precision(self._weights, codes_per_frame)

    @classmethod
    def fit(
        cls,
        values: Sequence[Audio],
        *,
        steps: int = 600,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        seed: int = 0,
        log: Any = print,
        speeds: Sequence[float] = (1.0,),
        emphasis: Sequence[float] | None = None,
        spectral: float = 0.0,
        codes_per_frame: int = 4,
    ) -> Self:
        """A tokenizer fitted to `values`.

        speeds: each sound is also played at these speeds (2 is an octave higher and half as long), for
        voices that were not recorded. emphasis: weight of what is left after each level of shapes, as
        many as there are levels to fit; default: one level for each code of a frame but the first, the
        last of them counting thrice. spectral: weight of the distance of spectra beside the waveform's, at
        the levels whose emphasis is 1 or more (see audio_spectral.py). batch_size: stretches of 32 frames a step.
        """
        from unitok.tokenizers import audio_fit

        weights = emphasis or [0.3] * (codes_per_frame - 2) + [1.0]
        fitted = audio_fit.fit(
            [sound for value in values for sound in at_speeds(value, speeds)],
            levels=len(weights) + 1,
            emphasis=weights,
            spectral=spectral,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            log=log,
        )
        return cls(codes_per_frame=codes_per_frame, weights=fitted)

    @classmethod
    def build(cls, variant: str | None = None, **options: Any) -> Self:
        """The shipped weights. codes_per_frame: 4 (default) or 8; variant "high" is 8."""
        if variant == "high" and not options:
            return cls.build(codes_per_frame=8)
        if variant is None and options.keys() == {"codes_per_frame"}:
            return super().build().at_rate(options["codes_per_frame"])
        return super().build(variant, **options)

    @classmethod
    def variants(cls) -> list[str]:
        return ["high", *super().variants()]

    # ---- what it is made of ----------------------------------------------------------------

    def options(self) -> dict[str, Any]:
        return {"codes_per_frame": self.codes_per_frame}

    def weights(self) -> dict[str, np.ndarray]:
        return self._weights

    @classmethod
    def from_parts(
        cls, options: Mapping[str, Any], weights: Mapping[str, np.ndarray], blobs: Any
    ) -> Self:
        return cls(**options, weights=weights)

    def at_rate(self, codes_per_frame: int) -> Self:
        """The same weights with another number of codes a frame."""
        return type(self)(codes_per_frame=codes_per_frame, weights=self._weights)

    def code_vectors(self) -> np.ndarray:
        """What each code sounds like, float32 [size, d]; NaN for the header."""
        return codecs.code_vectors(self._params, FIRST_CODE)

    # ---- sound to codes --------------------------------------------------------------------

    def encode(self, value: Audio, context: Any = None, rng: Any = None) -> np.ndarray:
        """int32 [6 + F Q]. Raises ValueRefused for anything but an Audio, or one too long or too loud."""
        return self.encode_batch([value])[0]

    def encode_batch(self, values: Sequence[Audio]) -> list[np.ndarray]:
        heads, frames = [], []
        for value in values:
            samples_T = at_16_khz(value)
            level, loudness = loudness_of(samples_T)
            heads.append(header_ids(level, len(samples_T)))
            frames.append(mdct(samples_T / np.float32(loudness or 1.0), FRAME))
        codes_FQ = self._encode_frames(np.concatenate(frames) if frames else np.zeros((0, FRAME)))
        ids_FQ = codes_FQ + FIRST_CODE + CODES * np.arange(self.codes_per_frame, dtype=np.int32)
        parts = np.split(ids_FQ, np.cumsum([len(part) for part in frames])[:-1]) if frames else []
        return [np.concatenate([head, ids.reshape(-1)]) for head, ids in zip(heads, parts)]

    def _encode_frames(self, x_FN: np.ndarray) -> np.ndarray:
        groups = np.zeros((-(-len(x_FN) // GROUP), GROUP, FRAME), np.float32)
        groups.reshape(-1, FRAME)[: len(x_FN)] = x_FN
        codes = [np.asarray(_encode_program(self._params, x_GN)) for x_GN in groups]
        codes_FQ = np.concatenate(codes) if codes else np.zeros((0, self.codes_per_frame), np.int32)
        return codes_FQ[: len(x_FN)]

    # ---- codes to sound --------------------------------------------------------------------

    def decode(self, ids: np.ndarray, context: Any = None) -> Audio:
        """At 16 kHz. Raises ValueError where the header is wrong or the codes are not the header's."""
        return self.decode_batch([ids])[0]

    def decode_batch(self, ids: Sequence[np.ndarray]) -> list[Audio]:
        parsed = [self._parse(one) for one in ids]
        codes = [codes_FQ for _, _, codes_FQ in parsed]
        places = [np.arange(len(part), dtype=np.int32) for part in codes]
        x_FN = self._decode_frames(codes, places)
        frames = np.split(x_FN, np.cumsum([len(part) for part in codes])[:-1]) if codes else []
        return [
            Audio(imdct(part_FN, length) * np.float32(gain_of(level)), RATE)
            for (level, length, _), part_FN in zip(parsed, frames)
        ]

    def _parse(self, ids: np.ndarray) -> tuple[int, int, np.ndarray]:
        """(loudness level, samples, codes [F, Q])."""
        ids = self.check_ids(ids)
        level, length = parse_header(ids)
        shape = (-(-length // FRAME), self.codes_per_frame)
        if len(ids) - HEADER != shape[0] * shape[1]:
            raise ValueError(
                f"audio: {length} samples need {shape[0]} frames of {shape[1]} codes, "
                f"got {len(ids) - HEADER} codes"
            )
        codes_FQ = ids[HEADER:].reshape(shape) - FIRST_CODE
        codes_FQ = codes_FQ - CODES * np.arange(self.codes_per_frame, dtype=np.int32)
        if codes_FQ.size and (codes_FQ.min() < 0 or codes_FQ.max() >= CODES):
            raise ValueError("audio: a code among the frames that is not of its place's range")
        return level, length, codes_FQ

    def _decode_frames(self, codes: list[np.ndarray], places: list[np.ndarray]) -> np.ndarray:
        count = sum(len(part) for part in places)
        groups_GQ = np.zeros((-(-count // GROUP), GROUP, self.codes_per_frame), np.int32)
        groups_G = np.zeros(groups_GQ.shape[:2], np.int32)
        if not count:
            return np.zeros((0, FRAME), np.float32)
        groups_GQ.reshape(-1, self.codes_per_frame)[:count] = np.concatenate(codes)
        groups_G.reshape(-1)[:count] = np.concatenate(places)
        frames = [
            np.asarray(_decode_program(self._params, codes_GQ, frame_G))
            for codes_GQ, frame_G in zip(groups_GQ, groups_G)
        ]
        return np.concatenate(frames)[:count]

    # ---- what the sequence and the decoding loop need --------------------------------------

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Header token i at (i, 0, 0), code q of frame t at (6 + t, q, 0)."""
        return positions_of(len(self.check_ids(ids)), self.codes_per_frame)

    def grammar(self, seconds: float | None = None, length: int | None = None) -> AudioGrammar:
        """The header, then exactly its number of codes. seconds or length (samples at 16 kHz): forced."""
        if seconds is not None and length is None:
            length = round(seconds * RATE)
        if length is not None and not 0 <= length <= MAX_LENGTH:
            raise ValueError(
                f"audio: want 0 to {MAX_LENGTH / RATE:.0f} seconds, got {length / RATE}"
            )
        return AudioGrammar(self.size, self.codes_per_frame, length)

    def bits_per_item(self, value: Audio) -> float:
        """Nominal rate in bits: 34.3 of header, 10 a code."""
        frames = -(-len(at_16_khz(value)) // FRAME)
        return HEADER_BITS + frames * self.codes_per_frame * float(np.log2(CODES))


# ---- sound as it comes -----------------------------------------------------------------------


def at_16_khz(value: Any) -> np.ndarray:
    """Its samples at 16 kHz, float32 [T]. Raises ValueRefused for what is no sound, or too long."""
    if not isinstance(value, Audio):
        raise ValueRefused(f"audio tokenizer: want an Audio, got {type(value).__name__}")
    if not SLOWEST <= value.rate <= FASTEST:
        raise ValueRefused(
            f"Audio.rate: {value.rate} samples per second; want {SLOWEST} to {FASTEST}"
        )
    if len(value.samples) * RATE > MAX_LENGTH * value.rate:
        raise ValueRefused(
            f"Audio.samples: {value.seconds:.0f} seconds, more than {MAX_LENGTH // RATE}; cut it"
        )
    if value.rate == RATE or not len(value.samples):
        return value.samples
    import soxr

    return soxr.resample(value.samples, value.rate, RATE).astype(np.float32)


def at_speeds(value: Audio, speeds: Sequence[float]) -> list[np.ndarray]:
    """float32 [T] each, divided by their loudness; none where there is silence."""
    import soxr

    samples_T = at_16_khz(value)
    sounds = [
        samples_T if speed == 1 else soxr.resample(samples_T, RATE, RATE / speed).astype(np.float32)
        for speed in speeds
    ]
    loud = [(sound, loudness_of(sound)[1]) for sound in sounds]
    return [sound / np.float32(loudness) for sound, loudness in loud if loudness]


def loudness_of(samples_T: np.ndarray) -> tuple[int, float]:
    """(level 0..255, amplitude): the RMS of frames of 20 ms, each weighted with its own power, so that
    pauses do not count. Level 0, silence, from -104 dB of full scale down.

    Raises ValueRefused above +23 dB.
    """
    frames = np.zeros(-(-len(samples_T) // FRAME) * FRAME)
    frames[: len(samples_T)] = samples_T
    power_F = np.mean(frames.reshape(-1, FRAME) ** 2, axis=1)
    total = float(power_F.sum())
    amplitude = float(np.sqrt((power_F**2).sum() / total)) if total > 1e-30 else 0.0
    decibels = 20 * np.log10(amplitude) if amplitude else -np.inf
    if decibels < QUIETEST_DB:
        return 0, 0.0
    level = max(1, round((decibels - QUIETEST_DB) / STEP_DB))
    if level >= LOUDNESS_LEVELS:
        raise ValueRefused(
            f"Audio.samples: {decibels:.0f} dB above full scale; divide by the largest sample"
        )
    return level, amplitude


def gain_of(level: int) -> float:
    """Amplitude of a loudness level; 0 for silence."""
    return 10 ** ((QUIETEST_DB + STEP_DB * level) / 20) if level else 0.0


# ---- programs ----------------------------------------------------------------------------------

_encode_program = jax.jit(codecs.encode)
_decode_program = jax.jit(codecs.decode)
