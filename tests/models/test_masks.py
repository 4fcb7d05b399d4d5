"""What the network says of an utterance depends on that utterance's frames alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from serctl.models.config import ModelConfig
from serctl.models.fusion import FusionModel
from serctl.models.layers import attend, make_mask, masked_softmax, run_bidirectional

DIMS = (6, 5, 4)
GARBAGE = st.sampled_from([0.0, -3.0, 1e30, float("nan"), float("inf")])
CONFIGS = [
    ModelConfig(num_classes=4, hidden=8, neutral_head=True, standardise=(True, False, False)),
    ModelConfig(num_classes=4, hidden=8, pooling="linear", attention="query", heads=(1, 1, 2)),
    ModelConfig(num_classes=4, hidden=8, pooling="statistics", num_attributes=3),
]
LENGTHS = st.lists(st.tuples(*[st.integers(1, 12)] * 3), min_size=1, max_size=5)


@pytest.fixture(scope="module", params=range(len(CONFIGS)), ids=["paper", "released", "statistics"])
def model(request: pytest.FixtureRequest) -> FusionModel:
    torch.manual_seed(0)
    return FusionModel(DIMS, CONFIGS[request.param]).eval()


def make_utterances(lengths: list[tuple[int, ...]]) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        [torch.randn(t, d, generator=generator) for t, d in zip(row, DIMS, strict=True)]
        for row in lengths
    ]


def pad(
    utterances: list[list[Tensor]], padding: int, garbage: float, dtype: torch.dtype = torch.float32
) -> tuple[list[Tensor], list[Tensor]]:
    frames, lengths = [], []
    for branch in zip(*utterances, strict=True):
        sizes = torch.tensor([len(x) for x in branch])
        batch = torch.full((len(branch), int(sizes.max()) + padding, branch[0].shape[1]), garbage)
        for row, x in zip(batch, branch, strict=True):
            row[: len(x)] = x
        frames.append(batch.to(dtype))
        lengths.append(sizes)
    return frames, lengths


@settings(max_examples=40, deadline=None)
@given(lengths=LENGTHS, padding=st.integers(0, 7), garbage=GARBAGE, data=st.data())
def test_companions_padding_and_order_do_not_matter(
    model: FusionModel,
    lengths: list[tuple[int, ...]],
    padding: int,
    garbage: float,
    data: st.DataObject,
) -> None:
    utterances = make_utterances(lengths)
    order = data.draw(st.permutations(range(len(utterances))))
    with torch.no_grad():
        together = model(*pad([utterances[i] for i in order], padding, garbage))
        for row, i in enumerate(order):
            alone = model(*pad([utterances[i]], 0, 0.0))
            for batched, single in zip(together, alone, strict=True):
                if single is not None:
                    torch.testing.assert_close(batched[row], single[0], atol=1e-5, rtol=0)


def test_garbage_in_the_padding_reaches_no_gradient(model: FusionModel) -> None:
    utterances = make_utterances([(5, 2, 9), (1, 7, 1)])
    gradients = []
    for padding, garbage in ((0, 0.0), (4, float("nan"))):
        model.zero_grad()
        model(*pad(utterances, padding, garbage)).logits.square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for clean, padded in zip(*gradients, strict=True):
        torch.testing.assert_close(padded, clean, atol=1e-6, rtol=1e-4)


def test_padded_buffers_are_left_as_they_are(model: FusionModel) -> None:
    frames, lengths = pad(make_utterances([(5, 2, 9), (1, 7, 1)]), 2, 7.0)
    before = [x.clone() for x in frames]
    model(frames, lengths)
    assert all(torch.equal(x, y) for x, y in zip(frames, before, strict=True))


def test_float16_frames_are_read_as_stored(model: FusionModel) -> None:
    frames, lengths = pad(make_utterances([(5, 2, 9), (1, 7, 1)]), 0, 0.0, torch.float16)
    widened = model([x.float() for x in frames], lengths)
    torch.testing.assert_close(model(frames, lengths).logits, widened.logits)


def test_an_utterance_without_frames_in_a_branch_is_finite_and_harms_nobody(
    model: FusionModel,
) -> None:
    utterances = make_utterances([(5, 0, 9), (4, 7, 3), (0, 0, 2)])
    together = model(*pad(utterances, 0, float("nan"))).logits
    for row, utterance in enumerate(utterances):
        frames, lengths = pad([utterance], 1, float("nan"))
        torch.testing.assert_close(together[row], model(frames, lengths).logits[0])
    assert together.isfinite().all()


def test_frames_in_another_order_give_other_logits(model: FusionModel) -> None:
    frames, lengths = pad(make_utterances([(5, 4, 9)]), 0, 0.0)
    flipped = model([x.flip(1) for x in frames], lengths).logits
    assert (flipped - model(frames, lengths).logits).abs().max() > 1e-4


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5), padding=st.integers(0, 4))
def test_the_gru_equals_a_packed_one(lengths: list[int], padding: int) -> None:
    torch.manual_seed(0)
    gru = nn.GRU(4, 6, batch_first=True, bidirectional=True)
    sizes = torch.tensor(lengths)
    frames = torch.randn(len(lengths), max(lengths) + padding, 4)
    packed = pack_padded_sequence(frames, sizes, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(gru(packed)[0], batch_first=True)
    mask = make_mask(sizes, max(lengths))
    result = run_bidirectional(gru, frames, sizes)[:, : max(lengths)]
    torch.testing.assert_close(result[mask], expected[mask], atol=1e-6, rtol=1e-5)

    slope = torch.randn_like(expected[mask])
    expected_gradients = torch.autograd.grad(expected[mask], list(gru.parameters()), slope)
    gradients = torch.autograd.grad(result[mask], list(gru.parameters()), slope)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize(("num_queries", "num_keys"), [(3, 9), (9, 3), (5, 5), (1, 1)])
def test_attention_equals_pytorchs(heads: int, num_queries: int, num_keys: int) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, heads, batch_first=True)
    nn.init.normal_(attention.in_proj_bias)
    query, keys = torch.randn(4, num_queries, 8), torch.randn(4, num_keys, 8)
    mask = make_mask(torch.tensor([num_keys, 1, (num_keys + 1) // 2, num_keys]), num_keys)
    expected = attention(query, keys, keys, key_padding_mask=~mask)[0]
    result = attend(attention, query, keys, mask)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-5)

    parameters = list(attention.parameters())
    expected_gradients = torch.autograd.grad(expected.square().sum(), parameters)
    gradients = torch.autograd.grad(result.square().sum(), parameters)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("num_queries", "num_keys"), [(3, 9), (9, 3)])
def test_dropout_of_attention_weights_equals_pytorchs(
    num_queries: int, num_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are given the same dropout mask: what is dropped is the weights, before the values."""
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 1, dropout=0.5, batch_first=True)
    nn.init.normal_(attention.in_proj_bias)
    keep = 2.0 * (torch.rand(4, num_queries, num_keys) > 0.5)
    monkeypatch.setattr(nn.functional, "dropout", lambda x, *_, **__: x * keep.view(x.shape))
    query, keys = torch.randn(4, num_queries, 8), torch.randn(4, num_keys, 8)
    mask = make_mask(torch.tensor([num_keys, 1, 2, num_keys]), num_keys)
    # need_weights=True is PyTorch's explicit form, which calls functional.dropout.
    expected = attention(query, keys, keys, key_padding_mask=~mask, need_weights=True)[0]
    torch.testing.assert_close(attend(attention, query, keys, mask), expected, atol=1e-6, rtol=1e-5)


def test_masked_softmax_is_exactly_zero_on_padding() -> None:
    weights = masked_softmax(
        torch.tensor([[1e4, 0.0, 9e9], [0.0, 0.0, 0.0]]), make_mask(torch.tensor([2, 0]), 3)
    )
    assert weights.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.gpu
def test_cuda_gives_the_logits_of_the_cpu(model: FusionModel) -> None:
    frames, lengths = pad(make_utterances([(5, 2, 9), (1, 7, 1), (12, 12, 3)]), 3, float("nan"))
    expected = model(frames, lengths).logits
    result = model.cuda()([x.cuda() for x in frames], [x.cuda() for x in lengths]).logits
    model.cpu()
    torch.testing.assert_close(result.cpu(), expected, atol=1e-4, rtol=0)
