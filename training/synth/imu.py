"""What an inertial sensor on the object would write down: its acceleration and its turning, as a CSV file.

The object's swing is the acceleration along x (to the right) or y (up) of the sensor; gravity, the sensor's tilt, its
shaking along z and its turning are drawn without a look at the label, so only the dynamics of the two axes tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.synth.script import ClipScript, SegmentScript

HEADER = "seconds,ax,ay,az,gx,gy,gz"
"""Time on the clip's timeline, m/s^2 along three axes, rad/s around them."""
NOMINAL_HZ = 50.0
FRAME_METRES = 0.25
"""Side of the frame that the motion is a fraction of: 3 to 12 m/s^2 at the swing's ends."""
GRAVITY = 9.81
MAX_TILT = math.radians(12)
DROP_SHARE = 0.01
"""Of samples that were lost."""
IMU_STREAM = 2
"""Beside those of the noise of sound and picture."""


@dataclass(frozen=True)
class Sensor:
    """A clip's sensor; rows of ``wobbles`` are amplitude (rad/s), frequency (Hz) and phase of each gyroscope axis."""

    rate_hz: float
    late_seconds: float
    """How long after the clip's start it begins."""
    early_seconds: float
    """How long before the clip's stop it ends."""
    gravity: NDArray[np.float64]
    tilt: NDArray[np.float64]
    """``(3, 3)`` rotation."""
    shake_level: float
    """m/s^2 along z."""
    shake_hz: float
    shake_phase: float
    wobbles: NDArray[np.float64]
    gyro_bias: NDArray[np.float64]
    noise_level: float
    """m/s^2."""


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """Draw a sensor that looks anywhere but whose x and y stay within 12 degrees of the frame's."""
    direction = rng.standard_normal(3)
    return Sensor(
        rate_hz=NOMINAL_HZ * float(rng.uniform(0.97, 1.03)),
        late_seconds=float(rng.uniform(0, 0.3)),
        early_seconds=float(rng.uniform(0, 0.3)),
        gravity=GRAVITY * direction / np.linalg.norm(direction),
        tilt=_rotate(rng.uniform(-MAX_TILT, MAX_TILT, size=3)),
        shake_level=float(rng.uniform(0.5, 4)),
        shake_hz=float(rng.uniform(1.0, 3.0)),
        shake_phase=float(rng.uniform(0, 2 * math.pi)),
        wobbles=np.stack([rng.uniform(0.1, 0.8, 3), rng.uniform(0.2, 1.5, 3), rng.uniform(0, 2 * math.pi, 3)], axis=1),
        gyro_bias=rng.normal(0, 0.05, size=3),
        noise_level=float(rng.uniform(0.1, 0.6)),
    )


def render_imu(script: ClipScript) -> str:
    """The sensor's record of a clip: CSV with ``HEADER``, at about 50 Hz, jittered, with a few samples lost."""
    rng = np.random.default_rng([*script.noise_seed, IMU_STREAM])
    sensor = draw_sensor(rng)
    seconds = _draw_times(rng, script, sensor)
    lines = np.concatenate([seconds[:, None], render_motion(rng, script.segments, sensor, seconds)], axis=1)
    return "\n".join([HEADER, *(",".join(f"{value:.4f}" for value in line) for line in lines.tolist())]) + "\n"


def render_motion(
    rng: np.random.Generator,
    segments: tuple[SegmentScript, ...],
    sensor: Sensor,
    seconds: NDArray[np.float64],
) -> NDArray[np.float64]:
    """``(N, 6)``: acceleration in m/s^2 and rate of turn in rad/s at ``(N,)`` times of the clip."""
    swing = np.zeros((len(seconds), 3))
    for segment in segments:
        start, stop = float(segment.start_seconds), float(segment.stop_seconds)
        inside = (seconds >= start) & (seconds < stop)
        omega = 2 * math.pi * segment.motion.frequency_hz
        # The second derivative of the position that the video shows; its y points down, the sensor's up.
        pull = -segment.motion.amplitude * FRAME_METRES * omega**2
        sign = 1 if segment.activity.motion == 0 else -1
        swing[inside, segment.activity.motion] = (
            sign * pull * np.sin(segment.motion.phase + omega * (seconds[inside] - start))
        )
    swing[:, 2] = sensor.shake_level * np.sin(2 * math.pi * sensor.shake_hz * seconds + sensor.shake_phase)
    level, hz, phase = sensor.wobbles.T
    turning = sensor.gyro_bias + level * np.sin(2 * math.pi * hz * seconds[:, None] + phase)
    accelerations = swing @ sensor.tilt.T + sensor.gravity
    noise = rng.standard_normal((len(seconds), 6)) * ([sensor.noise_level] * 3 + [0.02] * 3)
    return np.concatenate([accelerations, turning], axis=1) + noise


def _draw_times(rng: np.random.Generator, script: ClipScript, sensor: Sensor) -> NDArray[np.float64]:
    """``(N,)`` ascending times in seconds; each is up to a quarter of a step from where it should be."""
    edges = script.timeline.edges_seconds
    start, stop = float(edges[0]) + sensor.late_seconds, float(edges[-1]) - sensor.early_seconds
    step = 1 / sensor.rate_hz
    places = np.arange(start, stop, step)
    jittered = places + step * rng.uniform(-0.25, 0.25, size=len(places))
    kept = rng.uniform(size=len(places)) >= DROP_SHARE
    return np.maximum(jittered[kept], 0.0)


def _rotate(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(3, 3)`` rotation by angles in radians around x, then y, then z."""
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[b, a], turn[a, b] = math.sin(angle), -math.sin(angle)
        rotation = turn @ rotation
    return rotation
