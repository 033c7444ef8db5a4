"""What a request may cost: one settings object, with defaults that a hostile upload cannot turn against a worker."""

from __future__ import annotations

from typing import Self

from models.settings import PositiveFloat, PositiveInt, Settings


class Limits(Settings):
    """Limits on one request; a breach is :class:`handler.errors.LimitExceeded` and says the limit."""

    max_bytes: PositiveInt = 64 * 1024 * 1024
    """Bytes of one media part."""
    max_frame_pixels: PositiveInt = 2_100_000
    """Pixels of one frame: 1920 x 1088 passes."""
    max_frames: PositiveInt = 36_000
    """Frames that come out of a video's decoder, whatever the file declares: 600 s at 60 a second pass."""
    max_total_pixels: PositiveInt = 40_000_000_000
    """Pixels of these frames together: 600 s of 1920 x 1080 at 30 a second pass."""
    max_duration_seconds: PositiveFloat = 600.0
    """Seconds of the timeline, declared or found while decoding. The instances of a KServe body share these, the frames
    and their pixels."""
    max_streamed_seconds: PositiveFloat = 7200.0
    """The same of a request with ``stream``: a batch with it is not done in one ``responseTimeout``, but each piece is,
    and what a worker keeps in memory does not grow with the length. It may have more frames and pixels in proportion;
    ``max_bytes`` holds for it as well."""
    max_explained_seconds: PositiveFloat = 120.0
    """Seconds of a clip that is explained, which takes about eight times as long as its prediction. Less in proportion
    where a window has more than four hops, but a window: a batch of explanations has to be done in ``responseTimeout``.
    """
    max_streams: PositiveInt = 16
    """Streams in a container."""
    max_decode_seconds: PositiveFloat = 5.0
    """Seconds of the wall clock that decoding a request may take beyond those that the clip lasts."""
    max_batch_seconds: PositiveFloat = 540.0
    """Seconds after which nothing more of a batch is decoded, the requests with ``stream`` aside: less than
    ``responseTimeout``, at which TorchServe kills the worker and every request of the batch is lost."""
    max_decode_bytes: PositiveInt = 512 * 1024 * 1024
    """Bytes of address space that a decoding process may take beyond those that it starts with."""
    max_packets: PositiveInt = 400_000
    """Packets in a container."""
    max_channels: PositiveInt = 8
    """Channels of sound."""
    min_sample_rate: PositiveInt = 4_000
    """Hz."""
    max_sample_rate: PositiveInt = 192_000
    """Hz."""
    max_text_characters: PositiveInt = 100_000
    """Characters of the text part, markup included."""
    max_cues: PositiveInt = 5_000
    """Cues of the text part."""
    max_image_pixels: PositiveInt = 16_000_000
    """Pixels of a picture that is sent as such: a photograph of 4608 x 3456 passes."""
    max_table_bytes: PositiveInt = 8 * 1024 * 1024
    """Bytes of a table or of a sequence of vectors."""
    max_table_columns: PositiveInt = 2_048
    """Columns of a table or of a sequence of vectors."""
    max_table_rows: PositiveInt = 200_000
    """Rows of a sequence of vectors; a table has one."""
    max_table_cells: PositiveInt = 2_000_000
    """Rows times columns."""
    max_options_bytes: PositiveInt = 16_384
    """Bytes of the options part."""
    max_instances: PositiveInt = 8
    """Instances of one KServe body: as many clips as a full batch of TorchServe's has."""
    max_instances_bytes: PositiveInt = 72 * 1024 * 1024
    """Bytes of all instances of one KServe body: what 96 MiB of base64 decode to."""
    max_answers_bytes: PositiveInt = 90 * 1024 * 1024
    """Bytes of an answer. A worker dies of more than TorchServe's ``max_response_size``."""

    max_state_bytes: PositiveInt = 262_144
    """Bytes of a stream's state as it is sent."""
    max_state_age_seconds: PositiveFloat = 3600.0
    """A stream's state that is older is not gone on with."""
    max_lead_bytes: PositiveInt = 128 * 1024
    """Bytes of encoded video that a stream's state keeps for a chunk that begins inside a group of pictures."""

    @property
    def shorter(self) -> str:
        """What to do about a recording that lasts too long."""
        if self.max_duration_seconds < self.max_streamed_seconds:
            streamed = f'with the option {{"stream": true}} one of up to {self.max_streamed_seconds:g} s is answered'
            return f"Send a shorter clip, or the recording in chunks; by REST, {streamed}."
        return "Send a shorter clip, or the recording in chunks."

    def shared_by(self, num_instances: int) -> Self:
        """The limits on each of the instances of one KServe body, whose clips together are no longer than a request's.

        So a batch of bodies is done within the time of a batch of requests, after which TorchServe kills the worker.
        """
        if num_instances == 1:
            return self
        return self._lasting(self.max_duration_seconds / num_instances)

    def streamed(self) -> Self:
        """The limits on a request with ``stream``."""
        return self._lasting(self.max_streamed_seconds)

    def _lasting(self, seconds: float) -> Self:
        """The limits on clips of up to ``seconds``, with as many frames and pixels a second."""
        share = seconds / self.max_duration_seconds
        return self.model_copy(
            update={
                "max_duration_seconds": seconds,
                "max_frames": max(1, round(self.max_frames * share)),
                "max_total_pixels": max(1, round(self.max_total_pixels * share)),
            }
        )


class HandlerSettings(Settings):
    """The section ``handler`` of model-config.yaml."""

    limits: Limits = Limits()

    cage: bool = True
    """Whether each request is decoded in a small process of its own, with limits that the system holds."""
    requests_per_child: PositiveInt = 16
    """How many requests such a process decodes one after the other, as long as nothing is wrong with any of them; after
    one with which something is it is killed. With 1 each request has a process that has seen no other."""
