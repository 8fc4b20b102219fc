import pytest
import torch

from jsc.datasets.datamodule import EvalBatches, TrainBatches, TrainChunks
from jsc.datasets.epoch_order import EpochOrder


def batches(num_jets: int = 10, batch_size: int = 4, **arguments: int) -> TrainBatches:
    x_NF = torch.arange(num_jets, dtype=torch.float32).unsqueeze(1)
    return TrainBatches(x_NF, torch.arange(num_jets), batch_size=batch_size, seed=arguments.pop("seed", 0), **arguments)


def rows_seen(loader: TrainBatches) -> list[int]:
    return [int(row) for _, y_B in loader for row in y_B]


def test_an_epoch_visits_every_jet_once_in_an_order_of_seed_and_epoch() -> None:
    orders = []
    for seed, epoch in [(0, 0), (0, 1), (1, 0)]:
        loader = batches(100, seed=seed)
        loader.sampler.set_epoch(epoch)
        orders.append(rows_seen(loader))
        assert sorted(orders[-1]) == list(range(100))
        assert rows_seen(loader) == orders[-1]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_epoch_one_of_a_seed_is_not_epoch_zero_of_the_next() -> None:
    one, two = EpochOrder(100, seed=0), EpochOrder(100, seed=1)
    one.set_epoch(1)
    assert one.rows_N().tolist() != two.rows_N().tolist()


@pytest.mark.parametrize(("num_jets", "sizes"), [(10, [4, 4, 2]), (8, [4, 4]), (9, [4, 4]), (11, [4, 4, 3])])
def test_the_last_batch_is_kept_unless_it_has_one_jet(num_jets: int, sizes: list[int]) -> None:
    loader = batches(num_jets)
    assert [len(y_B) for _, y_B in loader] == sizes
    assert len(loader) == len(sizes)


def test_features_and_classes_stay_together() -> None:
    assert all(torch.equal(x_BF[:, 0], y_B.float()) for x_BF, y_B in batches(100))


def test_processes_share_an_epoch_without_overlap() -> None:
    shares = [rows_seen(batches(101, rank=rank, world_size=2)) for rank in range(2)]
    assert len(shares[0]) == len(shares[1]) == 50
    assert len({*shares[0], *shares[1]}) == 100


def test_a_resumed_epoch_sees_the_rest_of_it_and_the_next_one_whole() -> None:
    whole = rows_seen(batches(100))
    loader = batches(100)
    iterator = iter(loader)
    taken = [int(row) for _ in range(7) for row in next(iterator)[1]]
    resumed = batches(100)
    resumed.load_state_dict(loader.state_dict())
    assert taken + rows_seen(resumed) == whole
    resumed.sampler.set_epoch(1)
    assert len(rows_seen(resumed)) == 100


def test_a_checkpoint_at_an_epochs_end_starts_the_next_at_its_beginning() -> None:
    loader = batches(100)
    rows_seen(loader)
    resumed = batches(100)
    resumed.load_state_dict(loader.state_dict())
    resumed.sampler.set_epoch(1)
    assert len(rows_seen(resumed)) == 100


def test_chunks_are_the_batches_of_the_epoch() -> None:
    x_NF = torch.arange(10, dtype=torch.float32).unsqueeze(1)
    loader = TrainChunks(x_NF, torch.arange(10, dtype=torch.int8), batch_size=4, seed=0)
    seen: list[int] = []
    for given in loader:
        seen += given.take(min(2, 3 - given.position)).tolist()
    assert seen == rows_seen(batches(10))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_sees_every_jet_once_in_order(world_size: int) -> None:
    x_NF, y_N = torch.zeros(10, 1), torch.arange(10)
    loaders = [EvalBatches(x_NF, y_N, batch_size=4, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert [int(y) for loader in loaders for _, y_B in loader for y in y_B] == list(range(10))
    assert all(len(list(loader)) == len(loader) for loader in loaders)
