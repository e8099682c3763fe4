"""Rotary settings in the forms of transformers 4 and 5, and the angles themselves."""

import math

import pytest
import torch
from pagelet_api.sizes import ModelConfigError
from pagelet_engine.layers.reference import ReferenceBackend, ReferenceBatch
from pagelet_engine.layers.rotary import RopeSettings, Rotary

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


@pytest.mark.parametrize(
    "config",
    [
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}},
        {"rope_scaling": {"rope_type": "llama3", **LLAMA3}, "rope_theta": 5e5},
        {"rope_scaling": {"type": "llama3", **LLAMA3}, "rope_theta": 5e5},
    ],
)
def test_reads_old_and_new_configurations_alike(config):
    settings = RopeSettings.from_config(config)
    assert (settings.theta, settings.kind, settings.number("factor")) == (5e5, "llama3", 8.0)


@pytest.mark.parametrize("config", [{}, {"rope_scaling": None}, {"rope_parameters": None}])
def test_without_settings_it_is_plain(config):
    assert RopeSettings.from_config(config).theta == 10_000.0
    assert RopeSettings.from_config(config).kind == "default"


@pytest.mark.parametrize("kind", ["dynamic", "yarn", "longrope", 7])
def test_refuses_other_kinds_with_the_list_of_ours(kind):
    with pytest.raises(ModelConfigError, match="supported are: default, linear, llama3"):
        RopeSettings.from_config({"rope_scaling": {"rope_type": kind}})


def test_angles_are_positions_times_frequencies():
    positions = torch.tensor([0, 1, 5, 8191])
    batch = ReferenceBatch(torch.zeros_like(positions), positions, torch.zeros_like(positions), ())
    backend = ReferenceBackend(torch.float32, torch.device("cpu"))
    rotary = Rotary(8, RopeSettings.from_config({"rope_theta": 100.0}), backend)(batch)
    assert rotary.shape == (4, 2, 8)
    for token, position in enumerate(positions.tolist()):
        for pair in range(4):
            angle = position * 100.0 ** (-2 * pair / 8)
            cos, sin = rotary[token, 0], rotary[token, 1]
            found = [float(x) for x in (cos[pair], cos[pair + 4], -sin[pair], sin[pair + 4])]
            wanted = [math.cos(angle), math.cos(angle), math.sin(angle), math.sin(angle)]
            assert found == pytest.approx(wanted, abs=2e-3 if position > 1000 else 1e-6)
