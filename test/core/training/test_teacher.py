import pytest
import torch

from csknet_core.classes import MFNET, PST900
from csknet_core.errors import ConfigError
from csknet_core.modality import Modality, Mode
from csknet_core.model.csknet import CSKNet, ModelConfig
from csknet_core.model.zoo import save_network
from csknet_core.training.teacher import Teacher, pseudo_labels

CPU = torch.device("cpu")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CSKNet(ModelConfig(num_classes=len(MFNET), decoder_width=8)).eval()


def test_a_teacher_is_the_optical_only_mode_of_its_weights(tmp_path, network):
    path = tmp_path / "teacher.safetensors"
    save_network(path, network, MFNET, {})
    optical = torch.rand(1, 3, 64, 64)
    taught = Teacher.load(str(path), MFNET, CPU)(optical)
    expected = network.half().float().forward_single(Modality.OPTICAL, optical)
    assert torch.allclose(taught.logits, expected, atol=1e-4)
    assert [feature.shape[2] for feature in taught.features] == [32, 16, 8, 4, 2]
    assert not taught.logits.requires_grad


def test_a_teacher_of_other_classes_is_refused(tmp_path, network):
    path = tmp_path / "teacher.safetensors"
    save_network(path, network, MFNET, {})
    with pytest.raises(ConfigError, match="its classes"):
        Teacher.load(str(path), PST900, CPU)


def test_sure_fused_answers_label_the_unlabelled_samples_and_no_others(network):
    optical, thermal = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    labels = torch.full((2, 64, 64), 255)
    labels[0, :3] = 4
    with torch.no_grad():
        logits = network.predict(Mode.FUSED, optical[1:], thermal[1:])
    full = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear")
    confidence, answer = full.softmax(1).max(1)
    threshold = float(confidence.median())
    filled = pseudo_labels(network, optical, thermal, labels, threshold)
    assert torch.equal(filled[0], labels[0])
    sure = confidence[0] >= threshold
    assert torch.equal(filled[1][sure], answer[0][sure])
    assert (filled[1][~sure] == 255).all()


def test_a_labelled_batch_stays_as_it_is(network):
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    assert (
        pseudo_labels(network, torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64), labels, 0.1)
        is labels
    )
