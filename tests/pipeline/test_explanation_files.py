"""Saved explanations are read with care: whatever a file holds, it is an explanation or a clear word."""

import io
import json
import random
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_explanation import made, photo, pixels

from camlucida.errors import OutputError
from camlucida.pipeline.explanation import Explanation

FACTS = made().manifest()
FRAME = {"picture": [30, 44], "box": [7.5, 0.25, 36.5, 29.75], "view": [224, 224]}


def parts(facts: Any = None, **changes: Any) -> dict[str, Any]:
    """What a good file holds, with changes; None leaves a part out."""
    text = facts if isinstance(facts, bytes) else json.dumps(FACTS if facts is None else facts).encode()
    good = {
        "heatmap": np.ones((3, 4), np.float32),
        "picture": pixels(photo()),
        "manifest": np.frombuffer(text, np.uint8),
    }
    return {name: part for name, part in (good | changes).items() if part is not None}


def packed(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def facts(**changes: Any) -> bytes:
    return packed(parts(json.loads(json.dumps(FACTS | changes))))


GOOD = packed(parts())


def with_member(name: str, content: bytes) -> bytes:
    """A file whose one part is other bytes."""
    buffer = io.BytesIO(packed(parts(**{name: None})))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def array_of(values: bytes) -> bytes:
    """An array whose head says float32 (3, 4)."""
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + values


def encrypted(content: bytes) -> bytes:
    """With the flag set that a part is encrypted, in both directories."""
    data = bytearray(content)
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = data.find(mark)
        while at >= 0:
            data[at + place] |= 1
            at = data.find(mark, at + 4)
    return bytes(data)


def bomb(shape: str) -> bytes:
    """A picture whose head says a shape, and 64 MB of zeros behind it, in kilobytes."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head
    compress = zlib.compressobj(9, wbits=-15)
    block = bytes(1 << 20)
    pieces, checksum, size = [compress.compress(array)], zlib.crc32(array), len(array)
    for _ in range(64):
        pieces.append(compress.compress(block))
        checksum, size = zlib.crc32(block, checksum), size + len(block)
    data = b"".join([*pieces, compress.flush()])
    buffer = io.BytesIO(packed(parts(picture=None)))
    with zipfile.ZipFile(buffer, "a") as file:
        info = zipfile.ZipInfo("picture.npy")
        file.writestr(info, data)
        info.compress_type, info.file_size, info.CRC = zipfile.ZIP_DEFLATED, size, checksum
        place = info.header_offset
    whole = bytearray(buffer.getvalue())
    whole[place + 8 : place + 10] = (8).to_bytes(2, "little")  # deflated, in the part's own head too
    return bytes(whole)


DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
NESTED: Any = {"a": 1}
for _ in range(300):
    NESTED = {"a": NESTED}

# what is in the file → what is said
HOSTILE = {
    "nothing": (b"", "not a zip file"),
    "text": (b"some text", "not a zip file"),
    "half": (GOOD[: len(GOOD) // 2], "not a zip file"),
    "other arrays": (packed({"x": np.zeros(3)}), "there is no heatmap in it"),
    "an older pair, without its manifest": (packed(parts(manifest=None)), "there is no manifest in it"),
    "no picture": (packed(parts(picture=None)), "there is no picture in it"),
    "a complex map": (packed(parts(heatmap=np.ones((3, 4), complex))), r"its heatmap is complex128 \(3, 4\)"),
    "an unsigned map": (packed(parts(heatmap=np.ones((3, 4), np.uint8))), "its heatmap is uint8"),
    "a map of integers": (packed(parts(heatmap=np.ones((3, 4), int))), "its heatmap is int64"),
    "a map of long doubles": (packed(parts(heatmap=np.ones((3, 4), np.longdouble))), "its heatmap is "),
    "a map of texts": (packed(parts(heatmap=np.full((3, 4), "x"))), "its heatmap is <U1"),
    "a map of dates": (packed(parts(heatmap=np.zeros((3, 4), "M8[s]"))), "its heatmap is datetime"),
    "a map of records": (packed(parts(heatmap=np.zeros((3, 4), "f4,f4"))), "its heatmap is "),
    "a map of objects": (packed(parts(heatmap=np.full((3, 4), None))), "its heatmap is object"),
    "an empty map": (packed(parts(heatmap=np.ones((0, 4), np.float32))), r"its heatmap is float32 \(0, 4\)"),
    "a map of one axis": (packed(parts(heatmap=np.ones(4, np.float32))), r"its heatmap is float32 \(4,\)"),
    "a map of no axis": (packed(parts(heatmap=np.float32(1))), r"its heatmap is float32 \(\)"),
    "a picture of floats": (packed(parts(picture=np.ones((30, 44, 3)))), "its picture is float64"),
    "a picture of four bands": (packed(parts(picture=np.ones((30, 44, 4), np.uint8))), "its picture is uint8"),
    "a picture of another size": (packed(parts(picture=np.ones((30, 43, 3), np.uint8))), "says another size"),
    "a spread of another size": (packed(parts(spread=np.ones((3, 3), np.float32))), r"its spread is \(3, 3\)"),
    "an encrypted part": (encrypted(GOOD), "is encrypted"),
    "a part that is no array": (with_member("heatmap", b"no array"), "magic"),
    "a header without end": (with_member("heatmap", b"\x93NUMPY\x01\x00\xff\xff{"), ""),
    "a header that is code": (
        with_member("heatmap", b"\x93NUMPY\x01\x00\x40\x00" + b"__import__('os').abort()".ljust(63) + b"\n"),
        "",
    ),
    "fewer values than the shape": (with_member("heatmap", array_of(b"\0" * 44)), "44 bytes and .* needs 48"),
    "more values than the shape": (with_member("heatmap", array_of(b"\0" * 52)), "49 bytes and .* needs 48"),
    "another version of the form": (with_member("heatmap", b"\x93NUMPY\x02\x00"), "another form"),
    "a manifest that is no JSON": (packed(parts(b"{")), "Expecting"),
    "a manifest that is no UTF-8": (packed(parts(b"\xff\xfe")), "utf-8"),
    "a manifest nested 100,000 deep": (packed(parts(DEEP)), "recursion|deep"),
    "a manifest of a list": (packed(parts(b"[1, 2]")), "its manifest is no object"),
    "a manifest of other things": (packed(parts(b'{"a": 1}')), "its manifest's index is None"),
    "a frame of texts": (facts(frame={**FRAME, "box": ["0", "0", "9", "9"]}), "its manifest's frame is "),
    "a frame of no area": (facts(frame={**FRAME, "box": [3, 0, 3, 9]}), "its manifest's frame is "),
    "a frame turned round": (facts(frame={**FRAME, "box": [9, 0, 3, 9]}), "its manifest's frame is "),
    "a frame without end": (facts(frame={**FRAME, "box": [0, 0, float("inf"), 9]}), "its manifest's frame is "),
    "a frame of NaN": (facts(frame={**FRAME, "box": [0, 0, float("nan"), 9]}), "its manifest's frame is "),
    "a frame of three": (facts(frame={**FRAME, "box": [0, 0, 9]}), "its manifest's frame is "),
    "a view of nothing": (facts(frame={**FRAME, "view": [0, 224]}), "its manifest's frame is "),
    "a view of booleans": (facts(frame={**FRAME, "view": [True, 1]}), "its manifest's frame is "),
    "a frame with more": (facts(frame={**FRAME, "more": 1}), "its manifest's frame is "),
    "no frame": (facts(frame=3), "its manifest's frame is 3"),
    "an index that is none": (facts(index=-1), "its manifest's index is -1"),
    "an index of text": (facts(index="3"), "its manifest's index is '3'"),
    "a score of text": (facts(score="high"), "its manifest's score is 'high'"),
    "a score beyond all numbers": (facts(score=10**400), "its manifest's score is 1000"),
    "a probability of 2": (facts(probability=2.0), r"its manifest's probability is 2\.0"),
    "a label of a list": (facts(label=["cat"]), "its manifest's label is "),
    "a model of nothing": (facts(model=None), "its manifest's model is None"),
    "options of text": (facts(options="none"), "its manifest's options is 'none'"),
    "options nested deep": (facts(options=NESTED), "its manifest's options is "),
    "versions of numbers": (facts(versions={"torch": 2}), "its manifest's versions is "),
    "smoothing of one text": (facts(smooth="aug"), "its manifest's smooth is 'aug'"),
    "findings of texts": (facts(health=["bad"]), "its manifest's health is "),
    "findings with more": (
        facts(health=[{"code": "a", "found": "b", "advice": "c", "more": "d"}]),
        "its manifest's health is ",
    ),
    "more notes than findings": (facts(notes=5), "its manifest's notes are 5 of"),
    "notes below none": (facts(notes=-1), "its manifest's notes are -1 of"),
    "a bomb": (bomb("(30, 44, 3)"), "its picture|bytes"),
    "a bomb that says so": (bomb("(60000, 44000, 3)"), "its picture would take 7,920,000,000 bytes"),
}


@pytest.mark.parametrize(("content", "said"), HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required additional header parsing")
def test_what_is_no_explanation_is_refused_in_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(
        OutputError, match=rf"a\.npz is not an explanation that camlucida saved \(.*({said}).*\): save it anew"
    ) as caught:
        Explanation.load(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "a.npz", tmp_path):
        with pytest.raises(OutputError, match="is not an explanation that camlucida saved"):
            Explanation.load(path)


def test_the_good_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(GOOD)
    assert Explanation.load(tmp_path / "a.npz").overlay().size == (44, 30)


@pytest.mark.parametrize("kind", ["<f2", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_maps_of_other_floats_are_read(tmp_path: Path, kind: str, order: Any) -> None:
    values = np.arange(12).reshape(3, 4)
    (tmp_path / "a.npz").write_bytes(packed(parts(heatmap=np.asarray(values, kind, order=order))))
    np.testing.assert_array_equal(Explanation.load(tmp_path / "a.npz").heatmap.numpy(), values)


def test_memory_is_not_taken_before_sizes_are_known(tmp_path: Path) -> None:
    for content in (bomb("(30, 44, 3)"), bomb("(60000, 44000, 3)")):
        (tmp_path / "a.npz").write_bytes(content)
        tracemalloc.start()
        with pytest.raises(OutputError):
            Explanation.load(tmp_path / "a.npz")
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert taken < 8_000_000


def test_one_turned_bit_is_noticed(tmp_path: Path) -> None:
    """Anywhere: what is read is the same map, or an OutputError says why not."""
    made().save(tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    good = Explanation.load(tmp_path / "a.npz")
    rng = random.Random(0)
    read = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        (tmp_path / "a.npz").write_bytes(damaged)
        try:
            found = Explanation.load(tmp_path / "a.npz")
        except OutputError:
            continue
        read += 1
        assert found.manifest() == good.manifest()
        assert found.overlay().tobytes() == good.overlay().tobytes()
    assert read < 100
