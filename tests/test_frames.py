import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline import frames
from pipeline.errors import PipelineError, ResumeError
from pipeline.frames import (
    FrameRecord,
    FrameStore,
    encode_png,
    read_journal,
    read_json,
    write_json,
)


def picture(seed: int, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def store_frames(folder: Path, count: int) -> None:
    with FrameStore(folder) as store:
        for f in range(count):
            store.write([FrameRecord(f, 0.5, 2.0)], [picture(f)])


def test_frames_come_back_to_the_bit(tmp_path):
    store_frames(tmp_path, 3)
    with FrameStore(tmp_path) as store:
        assert store.done(5) == {0, 1, 2}
        for f in range(3):
            assert np.array_equal(store.read(f), picture(f))
    assert read_journal(tmp_path) == [FrameRecord(f, 0.5, 2.0) for f in range(3)]


def test_memory_is_bounded_and_evicted_frames_are_read_from_disk(tmp_path):
    with FrameStore(tmp_path, recent=2) as store:
        for f in range(9):
            store.write([FrameRecord(f, 0, 0)], [picture(f)])
        assert len(store._recent) == 2
        for f in range(9):
            assert np.array_equal(store.read(f), picture(f))


def test_what_is_forgotten_is_read_from_disk(tmp_path):
    with FrameStore(tmp_path) as store:
        store.write([FrameRecord(0, 0, 0)], [picture(0)])
        store.forget()
        assert not store._recent
        assert np.array_equal(store.read(0), picture(0))


def test_a_torn_frame_is_not_done(tmp_path):
    store_frames(tmp_path, 4)
    with FrameStore(tmp_path) as store:
        whole = store.path(1).read_bytes()
        store.path(1).write_bytes(whole[: len(whole) // 2])
        flipped = bytearray(store.path(2).read_bytes())
        flipped[len(flipped) // 2] ^= 1
        store.path(2).write_bytes(bytes(flipped))
        store.path(3).write_bytes(b"")
        assert store.done(4) == {0}


def test_a_frame_that_is_not_there_says_so(tmp_path):
    with FrameStore(tmp_path) as store, pytest.raises(ResumeError, match=r"000007\.png is missing"):
        store.read(7)


def test_a_half_written_journal_line_is_cut_off(tmp_path):
    store_frames(tmp_path, 2)
    journal = tmp_path / "frames.jsonl"
    journal.write_text(journal.read_text(encoding="utf-8") + '{"frame": 2, "sec', encoding="utf-8")
    with FrameStore(tmp_path) as store:
        store.write([FrameRecord(2, 1, 1)], [picture(2)])
    assert [
        json.loads(line)["frame"] for line in journal.read_text(encoding="utf-8").splitlines()
    ] == [0, 1, 2]


def test_a_write_that_fails_is_heard_of(tmp_path, monkeypatch):
    store = FrameStore(tmp_path)
    monkeypatch.setattr(
        Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    store.write([FrameRecord(0, 0, 0)], [picture(0)])
    with pytest.raises(PipelineError, match=r"No space left.*run the same command to continue"):
        store.flush()
    store.close()
    assert not list((tmp_path / "frames").iterdir())


def test_no_more_than_two_batches_wait(tmp_path, monkeypatch):
    gate = threading.Event()
    store_frame = FrameStore._store
    monkeypatch.setattr(FrameStore, "_store", lambda *a: (gate.wait(10), store_frame(*a)))
    store = FrameStore(tmp_path)
    store.write([FrameRecord(0, 0, 0)], [picture(0)])
    store.write([FrameRecord(1, 0, 0)], [picture(1)])
    third = threading.Thread(target=store.write, args=([FrameRecord(2, 0, 0)], [picture(2)]))
    third.start()
    third.join(0.3)
    assert third.is_alive()
    gate.set()
    third.join(10)
    store.close()
    assert len(list((tmp_path / "frames").iterdir())) == 3


def test_frames_encoded_side_by_side_are_stored_in_order(tmp_path, monkeypatch):
    """The first of a batch takes longest: four encoders are at work before it is done."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    others = threading.Barrier(4)

    def encode(frame):
        if frame[0, 0, 0] < 4:
            others.wait(10)
        if frame[0, 0, 0] == 0:
            time.sleep(0.05)
        return encode_png(frame)

    monkeypatch.setattr(frames, "encode_png", encode)
    with FrameStore(tmp_path) as store:
        pictures = [np.full((4, 4, 3), k, np.uint8) for k in range(6)]
        store.write([FrameRecord(k, 0, 0) for k in range(6)], pictures)
    lines = (tmp_path / "frames.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(6))
    with FrameStore(tmp_path) as store:
        assert [int(store.read(k)[0, 0, 0]) for k in range(6)] == list(range(6))


def test_removing_leaves_other_peoples_files(tmp_path):
    store_frames(tmp_path, 3)
    mine = tmp_path / "frames" / "mine.png"
    mine.write_bytes(b"precious")
    FrameStore.remove_from(tmp_path, 3)
    assert list(tmp_path.rglob("*")) == [tmp_path / "frames", mine]


def test_damaged_json_is_one_clear_line(tmp_path):
    path = tmp_path / "manifest.json"
    assert read_json(path) is None
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    for text in ("{", "[1]", "\x80"):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ResumeError, match="--overwrite"):
            read_json(path)
