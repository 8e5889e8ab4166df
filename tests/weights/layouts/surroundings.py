"""What checkpoints have beside the model: optimizers, arguments, losses, nested as the training programs nest them.

Each function here takes a Checkpoint and its `state`, which makes a state dict for a place in the file.
"""

import argparse
import sys
from collections import OrderedDict
from functools import partial

import torch
from torch import nn


def with_metadata(state):
    """What Module.state_dict() leaves in its dict beside the tensors: each module's version. torch.save keeps it."""
    state._metadata = OrderedDict({"": {"version": 1}})
    for name in state:
        parts = name.split(".")[:-1]
        for end in range(1, len(parts) + 1):
            module = ".".join(parts[:end])
            state._metadata[module] = {"version": 2 if f"{module}.running_mean" in state else 1}
    return state


def optimizer_state(kind, state, **options):
    """Of two parameters, after a step; real ones have all of them."""
    parameters = [nn.Parameter(w.detach().clone().float()) for w in list(state.values())[:2]]
    optimizer = kind(parameters, **options)
    for parameter in parameters:
        parameter.grad = parameter.detach() / 8
    optimizer.step()
    return optimizer.state_dict()


def dino(arch, student_prefix, checkpoint, state):
    """facebookresearch/dino, main_dino.py. Only networks with batch norms wrap the teacher for many GPUs, the student
    always is, whence a ViT's student has `module.` before its names and its teacher has not."""
    student = state("student", student_prefix)
    sgd = partial(torch.optim.SGD, lr=0.03, momentum=0.9)
    adamw = partial(torch.optim.AdamW, lr=5e-4)
    prototypes = checkpoint.parts[1].prototypes
    return {
        "student": student,
        "teacher": state("teacher"),
        "optimizer": optimizer_state(sgd if arch == "resnet50" else adamw, student),
        "epoch": 800,
        "args": argparse.Namespace(
            arch=arch,
            patch_size=16,
            out_dim=prototypes,
            norm_last_layer=True,
            use_bn_in_head=arch == "resnet50",
            use_fp16=True,
            clip_grad=0.0,
            lr=0.03,
            global_crops_scale=(0.14, 1.0),
            local_crops_scale=[0.05, 0.14],
            world_size=80,
            dist_url="env://",
            comment=None,
        ),
        "dino_loss": with_metadata(OrderedDict(center=checkpoint.value("dino_loss.center", [1, prototypes]))),
        "fp16_scaler": {
            "scale": 65536.0,
            "growth_factor": 2.0,
            "backoff_factor": 0.5,
            "growth_interval": 2000,
            "_growth_tracker": 1251,
        },
    }


def exclude_bias_and_norm(p):
    return p.ndim == 1


# VICReg's optimizer keeps this function of its training script, so that its file names a global of `__main__`, and
# torch.load reads it only where there is such a function.
exclude_bias_and_norm.__module__ = "__main__"
sys.modules["__main__"].exclude_bias_and_norm = exclude_bias_and_norm


def vicreg(checkpoint, state):
    """facebookresearch/vicreg, main_vicreg.py, with its own optimizer (LARS)."""
    model = state("model")
    group = {
        "lr": 0.0016,
        "weight_decay": 1e-6,
        "momentum": 0.9,
        "eta": 0.001,
        "weight_decay_filter": exclude_bias_and_norm,
        "lars_adaptation_filter": exclude_bias_and_norm,
        "params": [0, 1],
    }
    mu = {i: {"mu": w.detach() / 8} for i, w in enumerate(list(model.values())[:2])}
    return {"epoch": 1000, "model": model, "optimizer": {"state": mu, "param_groups": [group]}}


def vissl(loss, checkpoint, state):
    """facebookresearch/vissl, vissl/hooks/log_hooks.py, and ClassyVision's state of a task."""
    flat = state(checkpoint.at)
    cut = lambda name: OrderedDict((k.partition(".")[2], w) for k, w in flat.items() if k.startswith(f"{name}."))
    trunk, heads = with_metadata(cut("trunk")), with_metadata(cut("heads"))
    sgd = optimizer_state(torch.optim.SGD, trunk, lr=0.3, momentum=0.9)
    meter = {"name": "accuracy_list_meter", "num_meters": 1, "topk_values": [1, 5], "meters": [{"value": 0.5}]}
    return {
        "phase_idx": 999,
        "iteration": 312000,
        "loss": with_metadata(loss),
        "iteration_num": 311,
        "train_phase_idx": 999,
        "classy_state_dict": {
            "train": True,
            "base_model": {"model": {"trunk": trunk, "heads": heads}, "meta": {"trunk": {}}},
            "meters": [meter],
            "optimizer": {"optim": sgd, "parameter_groups": [{"lr": 0.3}, {"lr": 0.3, "weight_decay": 0.0}]},
            "phase_idx": 999,
            "train_phase_idx": 999,
            "num_updates": 4096 * 312000,
            "losses": [6.25, 6.125],
            "hooks": {"log_loss_lr_eta": {}},
            "loss": {},
        },
    }


def adamw_of_unet(checkpoint, state):
    """guided-diffusion's opt*.pt, of a UNet's first layers: real ones are twice as large as the model."""
    model = state("")
    first = [w for name, w in model.items() if name.startswith(("time_embed", "ssl_emb", "input_blocks.0"))]
    optimizer = torch.optim.AdamW(first, lr=1e-4, weight_decay=0.0)
    for parameter in first:
        parameter.grad = parameter.detach() / 8
    optimizer.step()
    return optimizer.state_dict()
