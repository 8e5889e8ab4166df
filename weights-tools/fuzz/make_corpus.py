"""Writes the corpus and the dictionaries beside it: the smallest files that go everywhere in the readers.

    python make_corpus.py        # torch 2.15, safetensors 0.8, numpy 2

What fuzzing found is in the corpus, too, under names that begin with `found_`; it stays.
"""

import argparse
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

HERE = Path(__file__).parent
FILES = HERE.parents[1] / "tests/weights/files"


def put(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def small():
    """Two tensors, and views of one storage."""
    torch.manual_seed(0)
    base = torch.randn(3, 4)
    views = {"a.weight": base, "a.part": base[1:, ::2], "a.turned": base.t(), "b.one": base[0, :1].expand(5)}
    return OrderedDict(views | {"b.half": base[0].half()})


def every_type():
    types = [torch.float64, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
    types += [torch.uint16, torch.uint32, torch.uint64]
    ones = {str(dtype): torch.ones(2).to(dtype) for dtype in types}
    return ones | {"empty": torch.empty(0, 3), "scalar": torch.tensor(7)}


def saved(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def rezipped(data, method):
    """An archive without the padding that PyTorch writes, and with few entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", method) as new:
        for name in old.namelist():
            if "data" in name or "byteorder" in name:
                # With a date that stays.
                entry = zipfile.ZipInfo(name)
                entry.compress_type = method
                new.writestr(entry, old.read(name))
    return file.getvalue()


def torch_files():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    nested = {
        "state_dict": small(),
        "epoch": 3,
        "args": argparse.Namespace(lr=0.03, names=["a", None, 1 << 70], size=(1, 2.5)),
        "set": {1, 2},
        "bytes": b"abc",
        "parameter": parameter.detach(),
    }
    values = {"small": small(), "types": every_type(), "module": net, "nested": nested}
    values["optimizer"] = optimizer.state_dict()
    for name, value in values.items():
        whole = saved(value)
        if name in ("small", "nested"):
            put("torch_zip", f"{name}_as_saved.pth", whole)
        put("torch_zip", f"{name}.pth", rezipped(whole, zipfile.ZIP_STORED))
        # With a whole module goes its source.
        if name == "module":
            continue
        for protocol in [0, 2, 4] if name in ("small", "nested") else [2]:
            legacy = saved(value, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
            put("torch_legacy", f"{name}_{protocol}.pth", legacy)
    put("torch_zip", "deflated.pth", rezipped(saved(small()), zipfile.ZIP_DEFLATED))
    zeros = {"zeros": torch.zeros(64, 1024)}
    put("torch_zip", "zeros.pth", rezipped(saved(zeros), zipfile.ZIP_DEFLATED))
    put("torch_zip", "zip.pth", (FILES / "zip.pth").read_bytes())
    put("torch_legacy", "legacy.pth", (FILES / "legacy.pth").read_bytes())
    for protocol in range(6):
        value = {"a": [1, -1, 1 << 40, 2.5, "text", b"bytes", (None, True)], "b": {"c": {1}, "d": frozenset([2])}}
        put("torch_legacy", f"bare_{protocol}.pkl", pickle.dumps(value, protocol))


def tar():
    """A file of PyTorch 0.1.9, by hand: nothing writes it any more."""
    f32 = lambda *values: struct.pack(f"<{len(values)}f", *values)
    i64 = lambda *values: struct.pack(f"<{len(values)}q", *values)
    dumps = lambda value: pickle.dumps(value, 2)
    storages = dumps(2)
    storages += dumps(("11", "cpu", torch.FloatStorage)) + i64(6) + f32(*range(6))
    storages += dumps(("12", "cpu", torch.LongStorage)) + i64(1) + i64(7)
    storages += dumps([("13", "11", 2, 4)])
    tensor = lambda key, storage, shape, stride, offset: (
        dumps((key, storage, torch.FloatTensor)) + struct.pack("<ii", len(shape), 0) + i64(*shape, *stride, offset)
    )
    tensors = dumps(3) + tensor("1", "11", [2, 3], [3, 1], 0)
    tensors += tensor("2", "12", [1], [1], 0) + tensor("3", "13", [2, 2], [1, 2], 0)

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return value[1:] if isinstance(value, str) and value.startswith("#") else None

    main = io.BytesIO()
    Pickler(main, 2).dump(OrderedDict({"a.weight": "#1", "a.count": "#2", "b.view": "#3"}))
    entries = {"sys_info": dumps({"little_endian": True}), "storages": storages, "tensors": tensors}
    entries["pickle"] = main.getvalue()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    put("torch_tar", "small.tar", file.getvalue()[:8192])


def npz():
    by_columns = np.asfortranarray(np.arange(24).reshape(2, 3, 4))
    arrays = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": by_columns, "c": np.array(1.0)}
    for name, save_as in [("plain", np.savez), ("deflated", np.savez_compressed)]:
        file = io.BytesIO()
        save_as(file, **arrays)
        put("npz", f"{name}.npz", file.getvalue())
    types = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1", ">f4", "U3"]
    file = io.BytesIO()
    np.savez(file, **{f"t{index}": np.zeros(2, dtype=dtype) for index, dtype in enumerate(types[:12])})
    put("npz", "types.npz", file.getvalue())
    for dtype in types[12:]:
        file = io.BytesIO()
        np.savez(file, x=np.zeros(2, dtype=dtype))
        put("npz", f"refused_{dtype.strip('>')}.npz", file.getvalue())
    file = io.BytesIO()
    np.savez_compressed(file, x=np.zeros((64, 1024), dtype="<f4"))
    put("npz", "zeros.npz", file.getvalue())


def safetensors():
    whole = {name: tensor.contiguous().clone() for name, tensor in small().items()}
    put("safetensors", "small.safetensors", save(whole, {"percept.kind": "head", "a": "b"}))
    put("safetensors", "types.safetensors", save({name: tensor for name, tensor in every_type().items()}))
    put("safetensors", "empty.safetensors", save({}))
    put("safetensors", "plain.safetensors", (FILES / "plain.safetensors").read_bytes())
    names = list(whole)
    shards = [save({name: whole[name] for name in part}) for part in (names[:2], names[2:])]
    weight_map = {name: "1.safetensors" if name in names[:2] else "2.safetensors" for name in names}
    index = json.dumps({"metadata": {"total_size": 100}, "weight_map": weight_map}).encode()
    sharded = lambda index, first, second: struct.pack("<II", len(index), len(first)) + index + first + second
    put("sharded", "two", sharded(index, *shards))
    put("sharded", "other", sharded(b'{"weight_map": {"a": "../1.safetensors", "b": 3}}', shards[0], b""))


def lines(state, **metadata):
    plain = lambda value: value if isinstance(value, str) else json.dumps(value)
    text = [f"@percept.{key} {plain(value)}" for key, value in metadata.items()]
    text += [" ".join([name, *map(str, tensor.shape)]) for name, tensor in state.items()]
    return "\n".join(text).encode()


def shapes():
    """Names and shapes of models, as `source.rs` reads them."""
    from_file = lambda name: torch.load(FILES.parent / "layouts/files" / name, map_location="meta", weights_only=False)

    def flat(value, prefix=""):
        if isinstance(value, torch.Tensor):
            yield prefix[:-1], value
        elif isinstance(value, dict):
            for key, inside in value.items():
                yield from flat(inside, f"{prefix}{key}.")

    target = "recognise_and_plan"
    for name in ["adm_classcond.pt", "rcdm_cbn_sn.pt", "torchvision_resnet18_legacy.pth", "dino_vit_small16_full.pth"]:
        put(target, Path(name).stem, lines(dict(flat(from_file(name)))))
    for name in ["byol_head", "simclr_head", "swav_head"]:
        put(target, name, lines(dict(flat(from_file(f"{name}.pth")))))
    layer = lambda out, inner: torch.empty(out, inner, device="meta")
    row = lambda out: torch.empty(out, device="meta")
    norm = lambda name, out: {f"{name}.{leaf}": row(out) for leaf in ["weight", "bias", "running_mean", "running_var"]}
    heads = {
        "dino": {"mlp.0.weight": layer(8, 4), "mlp.0.bias": row(8), "mlp.2.weight": layer(2, 8), "mlp.2.bias": row(2)}
        | {"last_layer.weight_g": layer(3, 1), "last_layer.weight_v": layer(3, 2)},
        "barlow": {"projector.0.weight": layer(8, 4), **norm("projector.1", 8), "projector.3.weight": layer(2, 8)},
        "vissl": {"heads.0.clf.0.weight": layer(8, 4), "heads.0.clf.0.bias": row(8)}
        | {"heads.1.clf.0.weight": layer(8, 8)},
        "normed": {"0.weight_orig": layer(8, 4), "0.weight_u": row(8), "0.weight_v": row(4), "0.bias": row(8)}
        | norm("1", 8),
    }
    for name, head in heads.items():
        put(target, f"head_{name}", lines(head))
    put(target, "percept_head", lines(heads["dino"], kind="head", config={"head": "dino", "dims": [4, 8, 2]}))
    resnet = {"block": "basic", "layers": [1, 1], "width": 4}
    put(target, "percept_resnet", lines({"conv1.weight": torch.empty(4, 3, 7, 7)}, kind="resnet", config=resnet))
    vit = {"patch": 16, "dim": 64, "depth": 1, "heads": 1, "native_image": 32}
    put(target, "percept_vit", lines({"pos_embed": torch.empty(1, 5, 64)}, kind="vit", config=vit))
    unet = {"image_size": 64, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2", "num_heads": 2}
    unet |= {"attention_resolutions": "32", "class_cond": True, "learn_sigma": True}
    unet |= {"ssl_dim": 8, "conditioning": "time_embedding"}
    for kind in ["unet", "superres"]:
        put(target, f"percept_{kind}", lines({"time_embed.0.weight": layer(128, 32)}, kind=kind, config=unet))


def dictionary(name, words):
    quoted = lambda word: "".join(f"\\x{byte:02x}" for byte in word)
    (HERE / f"{name}.dict").write_text("".join(f'"{quoted(word)}"\n' for word in sorted(set(words))))


def dictionaries():
    text = lambda words: [word.encode() for word in words.split()]
    archive = [b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"]

    called = """torch._utils:_rebuild_tensor torch._utils:_rebuild_tensor_v2 torch._utils:_rebuild_tensor_v3
        torch._utils:_rebuild_parameter torch._utils:_rebuild_parameter_with_state torch._tensor:_rebuild_from_type_v2
        collections:OrderedDict builtins:set builtins:frozenset torch:FloatStorage torch:DoubleStorage torch:HalfStorage
        torch:BFloat16Storage torch:LongStorage torch:IntStorage torch:ShortStorage torch:CharStorage torch:ByteStorage
        torch:BoolStorage torch:UntypedStorage torch:uint16"""
    words = [b"c" + word.replace(b":", b"\n") + b"\n" for word in text(called)]
    words += text("storage cpu data.pkl byteorder little version")
    words += text("_parameters _buffers _modules _non_persistent_buffers_set")
    # Opcodes: calls and ids, containers, the memo, numbers at the ends of their range.
    words += [b"\x80\x02", b"\x85R", b"tR", b"tQ", b"Q", b"b", b"\x81", b"\x92", b"\x93"]
    words += [b"X\x01\x00\x00\x00a", b"\x8c\x01a"]
    words += [b"}(", b"u", b"s", b"]", b"e", b"a", b"\x8f", b"\x90", b"\x91", b"(", b"t", b"."]
    words += [b"\x85", b"\x86", b"\x87"]
    words += [b"h\x00", b"h\x01", b"q\x00", b"q\x01", b"\x94", b"2", b"0", b"1"]
    words += [b"K\x00", b"K\x01", b"J\xff\xff\xff\x7f", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"]
    dictionary("torch", words + archive)

    words = text("'descr': 'fortran_order': 'shape': True False (3,4) (0,) () .npy 18446744073709551615")
    words += text("<f8 <f4 <f2 <i8 <i4 <i2 |i1 <u8 <u4 <u2 |u1 |b1")
    dictionary("npz", words + archive + [b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00"])

    words = text("""{"dtype": "shape": "data_offsets": "__metadata__": "percept.kind": "weight_map": "metadata":""")
    words += text(""""F64" "F32" "F16" "BF16" "I64" "U8" "BOOL" "F4" "F6_E2M3" "F8_E4M3" "C64" "unet" "head" """)
    words += text("""1.safetensors 2.safetensors 18446744073709551615 4294967296 [0,0] [] {} }""")
    dictionary("safetensors", words)

    words = text(
        """conv1. bn1. layer1.0. layer1.0.conv1.weight layer2.0. downsample.0. fc.weight
        patch_embed.proj.weight pos_embed cls_token register_tokens blocks.0. blocks.1. norm1. attn.qkv. ls1.gamma
        mlp.0. mlp.1. mlp.2. mlp.fc1. head. last_layer. heads.0.clf.0. heads.1.clf.0. projection_head. projector.
        backbone. encoder. module. teacher. state_dict. model.
        time_embed.0. time_embed.2. input_blocks.0.0. input_blocks.1.0. middle_block.0. output_blocks.0.0. out.2.
        label_emb. ssl_emb. shared. in_layers.0. emb_layers.1. out_layers.3. skip_connection. qkv. proj_out. op. conv.
        weight bias running_mean running_var gain.weight gain.u0 stored_mean stored_var
        weight_g weight_v weight_orig weight_u parametrizations.weight.original parametrizations.weight.0._u
        parametrizations.weight.original0 parametrizations.weight.original1
        @percept.kind @percept.config resnet head unet superres vit classifier 4294967295 1073741824
        {"block":"basic","layers":[1],"width":4} {"arch":"resnet18"} {"head":"dino","dims":[4,8]}
        "image_size":4096 "num_channels":4096 "num_res_blocks":64 "channel_mult":"1,2" "conditioning":"cbn" """
    )
    dictionary("recognise_and_plan", words + [b" 0", b" 1", b" 2 3", b"\n"])


def main():
    torch.manual_seed(0)
    torch_files()
    tar()
    npz()
    safetensors()
    shapes()
    dictionaries()


if __name__ == "__main__":
    main()
