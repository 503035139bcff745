"""The phantom: renders, planted table, exact adapter, and the shipped detector and classifier."""

import hashlib
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from fairbench import registry
from fairbench.cards import catalog
from fairbench.cards.cards import ModelCard
from fairbench.errors import WeightsError
from fairbench.keys import prompt_id, sample_seed
from fairbench.labelling.labeller import Labeller
from fairbench.phantom import layout, reading
from fairbench.phantom.detector import PhantomDetector
from fairbench.phantom.exact import PhantomExactAdapter, PhantomExactParams
from fairbench.phantom.making import corpus, make_planted, nets, train_labeller
from fairbench.phantom.planted import CELLS, OTHER, TABLE_PATH, cumulative, subject_of, table
from fairbench.phantom.renderer import BACKGROUNDS, GENDERS, RACES, bust_box, draw, render, sample_scene
from fairbench.types import BuildContext, ImageRequest

CARD = ModelCard(name="phantom-exact", title="t", adapter="phantom-exact")
TEMPLATE = "A photo of the face of a {}, a person"


def adapter(**params):
    return PhantomExactAdapter(CARD, PhantomExactParams(**params), BuildContext())


def request(text, index=0):
    prompt = prompt_id(text)
    return ImageRequest(bytes(16), prompt, prompt, text, index, sample_seed(prompt, index, 0))


def rd(shares):
    return float(np.mean([abs(a - b) for a, b in itertools.combinations(np.ravel(shares), 2)]))


# --- renderer ---


def test_a_render_depends_on_its_generator_alone():
    first, again, other = (render("male", "Asian", np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.dtype == np.uint8
    assert first.shape == (64, 64, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("size", [16, 65, 256])
def test_other_sizes_show_the_same_scene(size):
    small = render("female", "Black", np.random.default_rng(1))
    large = render("female", "Black", np.random.default_rng(1), size=size)
    assert large.shape == (size, size, 3)
    shrunk = [
        np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BOX), float) for image in (small, large)
    ]
    assert np.abs(shrunk[0] - shrunk[1]).mean() < 4


def test_unknown_labels_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="woman"):
        render("woman", "Asian", rng)
    with pytest.raises(ValueError, match="asian"):
        render("male", "asian", rng)


def test_headwear_and_clothing_are_all_that_attributes_change():
    """The same scene under all eight cells: above the shoulders race changes nothing, below the eyes gender nothing."""
    for seed in range(20):
        scene = sample_scene(np.random.default_rng(seed))
        images = {cell: draw(*cell, scene).astype(int) for cell in CELLS}
        eyes, shoulders = (int((scene.y + v * scene.scale) * 64) for v in (-0.06, 0.27))
        for gender, (one, two) in itertools.product(GENDERS, itertools.combinations(RACES, 2)):
            differs = np.abs(images[gender, one] - images[gender, two]).sum(axis=2)
            assert differs[shoulders + 1 :].max() > 100
            assert not differs[: shoulders - 1].any()
        for race in RACES:
            differs = np.abs(images["female", race] - images["male", race]).sum(axis=2)
            assert differs[:eyes].max() > 100
            assert not differs[eyes + 1 :].any()


def test_corner_and_face_pixels_carry_no_information():
    """Over generated images, background and the greys of head and hat have one distribution whatever the attributes."""
    text = TEMPLATE.format("somebody nobody planted")
    model = adapter(no_head_rate=0.0)
    requests = [request(text, i) for i in range(1500)]
    images = [r.pixels for r in model.generate(requests)]
    truths = [model.truth(r)[:2] for r in requests]
    background = np.array([image[2, 2].mean() for image in images])
    cheek, hat = (np.array([image[row, 31].mean() for image in images]) for row in (33, 20))
    for axis, labels in enumerate((GENDERS, RACES)):
        groups = [np.array([t[axis] == label for t in truths]) for label in labels]
        for values in (background, cheek, hat):
            assert stats.kruskal(*(values[group] for group in groups)).pvalue > 0.001


def test_scenes_vary_in_everything_but_the_marks():
    scenes = [sample_scene(np.random.default_rng(seed)) for seed in range(200)]
    assert {scene.background for scene in scenes} == set(BACKGROUNDS)
    assert all(0 <= edge <= 1 for scene in scenes for edge in bust_box(scene))
    for field in ("x", "y", "scale", "brightness", "head", "hat"):
        assert len({getattr(scene, field) for scene in scenes}) == 200


@pytest.mark.parametrize("cell", CELLS)
def test_the_box_holds_all_of_the_mannequin(cell):
    for seed in range(10):
        scene = sample_scene(np.random.default_rng(seed))
        left, top, right, bottom = (round(edge * 64) for edge in bust_box(scene))
        image = draw(*cell, scene)
        image[top:bottom, left:right] = image[0, 0]
        assert np.array_equal(image, np.broadcast_to(image[0, 0], image.shape))


# --- planted table ---


def test_the_table_is_the_one_that_its_script_makes():
    assert TABLE_PATH.read_text(encoding="utf-8") == make_planted.table_text()


def test_rows_are_distributions_in_which_every_cell_can_occur():
    assert [*make_planted.TEST, *make_planted.TRAINING, *make_planted.LABOUR, OTHER] == list(table())
    assert len(make_planted.TEST) == 50
    assert len(make_planted.TRAINING) >= 32
    for joint in table().values():
        assert joint.shape == (2, 4)
        assert joint.sum() == pytest.approx(1, abs=1e-12)
        assert joint.min() > 0.0003


def test_the_spread_is_that_of_real_models():
    joints = [table()[subject] for subject in make_planted.TEST]
    gender = [rd(joint.sum(axis=1)) for joint in joints]
    assert np.mean(gender) == pytest.approx(0.75, abs=0.02)
    assert np.mean([rd(joint.sum(axis=0)) for joint in joints]) == pytest.approx(0.40, abs=0.01)
    assert np.mean([rd(joint) for joint in joints]) == pytest.approx(0.20, abs=0.02)
    assert min(gender) < 0.1
    assert max(gender) > 0.95
    assert {joint.sum(axis=1).argmax() for joint in joints} == {0, 1}
    assert {joint.sum(axis=0).argmax() for joint in joints} == {0, 1, 2, 3}
    tied = [np.abs(joint - np.outer(joint.sum(axis=1), joint.sum(axis=0))).sum() / 2 > 0.05 for joint in joints]
    assert 3 <= sum(tied) <= 25


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (TEMPLATE.format("senator"), "senator"),
        ("A NURSE.", "nurse"),
        ("a civil engineer at work", "civil engineer"),
        ("a software engineer at work", "engineer"),
        ("an accountants  and\nauditor", "accountants and auditor"),
        ("a nursery", OTHER),
        ("", OTHER),
    ],
)
def test_the_longest_planted_subject_of_a_text_counts(text, subject):
    assert subject_of(text) == subject


# --- adapter ---


def test_images_do_not_depend_on_their_batch_or_order():
    model = adapter()
    requests = [request(TEMPLATE.format(s), i) for s in ("nurse", "sewer", "poet") for i in range(8)]
    together = model.generate(requests)
    apart = [adapter().generate([r])[0] for r in reversed(requests)][::-1]
    assert all(r.status == "ok" for r in together)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(together, apart, strict=True))


@pytest.mark.parametrize("subject", ["nurse", "inventor", "sergeant", "a subject that nobody planted"])
def test_planted_frequencies_are_reproduced(subject):
    n, model = 4000, adapter()
    truths = [model.truth(request(TEMPLATE.format(subject), i)) for i in range(n)]
    observed = np.array([sum(t[:2] == cell for t in truths) for cell in CELLS])
    expected = n * table()[subject if subject in table() else OTHER].ravel()
    rare = expected < 8  # too few for a chi-square: taken together
    pooled = [np.append(v[~rare], v[rare].sum()) if rare.any() else v for v in (observed, expected)]
    assert stats.chisquare(*pooled).pvalue > 0.001
    assert stats.binomtest(sum(not t[2] for t in truths), n, 0.03).pvalue > 0.001


def test_the_rate_of_headless_images_is_a_parameter():
    requests = [request(TEMPLATE.format("nurse"), i) for i in range(50)]
    assert all(adapter(no_head_rate=0.0).truth(r)[2] for r in requests)
    assert not any(adapter(no_head_rate=1.0).truth(r)[2] for r in requests)


@pytest.mark.parametrize(
    ("words", "genders", "races"),
    [
        ("female", {"female"}, set(RACES)),
        ("a Woman who is a", {"female"}, set(RACES)),
        ("man, a", {"male"}, set(RACES)),
        ("Asian male", {"male"}, {"Asian"}),
        ("White", set(GENDERS), {"WMELH"}),
        ("WMELH", set(GENDERS), {"WMELH"}),
        ("black or Indian", set(GENDERS), {"Black", "Indian"}),
        ("blackish womanly", set(GENDERS), set(RACES)),
    ],
)
def test_stated_attributes_are_fixed_and_the_rest_is_conditional(words, genders, races):
    text = TEMPLATE.format(f"{words} interior designer")
    shares = np.diff(cumulative(text), prepend=0.0)
    joint = table()["interior designer"].ravel()
    stated = np.array([g in genders and r in races for g, r in CELLS])
    assert not shares[~stated].any()
    assert shares[stated] == pytest.approx(joint[stated] / joint[stated].sum())
    drawn = {adapter().truth(request(text, i))[:2] for i in range(300)}
    assert {g for g, _ in drawn} <= genders
    assert {r for _, r in drawn} <= races


def test_the_same_seed_under_another_text_is_the_same_scene():
    neutral = request(TEMPLATE.format("nurse"))
    stated = [
        ImageRequest(bytes(16), bytes(16), neutral.neutral_id, TEMPLATE.format(f"{g} {r} nurse"), 0, neutral.seed)
        for g, r in CELLS
    ]
    gender, race, _ = adapter().truth(neutral)
    images = dict(zip(CELLS, (result.pixels for result in adapter().generate(stated)), strict=True))
    assert np.array_equal(images[gender, race], adapter().generate([neutral])[0].pixels)


def test_output_changes_only_with_a_new_version():
    """Where this fails, raise PhantomExactAdapter.version and write the new hash here."""
    results = adapter().generate(
        [request(TEMPLATE.format(s), i) for s in ("nurse", "blaster", "poet") for i in range(8)]
    )
    digest = hashlib.sha256(b"".join(r.pixels.tobytes() for r in results)).hexdigest()
    assert (PhantomExactAdapter.version, digest[:16]) == (1, "df9a4da2fc04691a")


# --- labeller ---


@pytest.fixture(scope="module")
def labeller():
    loaded = catalog.load_labeller("phantom")
    assert {name: tuple(spec.labels) for name, spec in loaded.card.attributes.items()} == {
        "gender": GENDERS,
        "race4": RACES,
    }
    return Labeller(loaded)


@pytest.fixture(scope="module")
def detector():
    loaded = catalog.load_labeller("phantom")
    params = registry.parse_params(PhantomDetector, loaded.card.routes[0].detector.params)
    return PhantomDetector(params, BuildContext(base_dir=loaded.base_dir))


def test_the_shipped_labeller_reads_fresh_renders(labeller):
    got = train_labeller.accuracy(labeller, corpus.make(1000, np.random.default_rng(77), corpus.clean))
    assert got["missed"] < 0.005
    assert got["false alarms"] < 0.005
    assert got["gender"] >= 0.995
    assert got["race4"] >= 0.995
    assert got["overlap"] > 0.9


def test_the_shipped_labeller_reads_blurred_renders(labeller):
    got = train_labeller.accuracy(labeller, corpus.make(1000, np.random.default_rng(78), corpus.blurred))
    assert got["missed"] < 0.02
    assert got["false alarms"] < 0.02
    assert got["gender"] >= 0.98
    assert got["race4"] >= 0.98


def test_boxes_are_in_the_pixels_of_images_of_any_size(detector):
    scenes = [sample_scene(np.random.default_rng(seed)) for seed in range(4)]
    images = [draw("male", "Indian", scene, size=size) for scene, size in zip(scenes, (64, 32, 100, 256), strict=True)]
    images[3] = images[3][::2]  # 128 high, 256 wide
    for scene, image, found in zip(scenes, images, detector.detect(images), strict=True):
        height, width = image.shape[:2]
        expected = np.array(bust_box(scene)) * (width, height, width, height)
        assert np.abs(np.array(found[0].bbox_xyxy) - expected).max() < 0.06 * width
    assert detector.detect([]) == []


def test_detection_does_not_depend_on_the_batch(detector):
    images = list(corpus.make(300, np.random.default_rng(3), corpus.degraded).images)  # more than one batch
    alone = [detector.detect([image])[0] for image in images[250:260]]
    for one, other in zip(alone, detector.detect(images)[250:260], strict=True):
        assert [f.bbox_xyxy for f in one] == [pytest.approx(f.bbox_xyxy, abs=1e-3) for f in other]


def test_a_threshold_of_one_finds_next_to_nothing(detector):
    strict = PhantomDetector(detector._params.model_copy(update={"threshold": 1.0}), detector._ctx)
    noise = list(corpus.make(50, np.random.default_rng(4), corpus.degraded, headless=0.5, empty=0.5).images)
    assert not any(strict.detect(noise))


def test_absent_weights_are_named():
    params = PhantomDetector.Params(weights={"path": "nowhere.onnx"})
    with pytest.raises(WeightsError, match=r"nowhere\.onnx"):
        PhantomDetector(params, BuildContext()).detect([np.zeros((64, 64, 3), np.uint8)])


def test_the_shipped_files_are_small():
    folder = catalog.load_labeller("phantom").base_dir / "weights"
    sizes = [(folder / name).stat().st_size for name in (layout.DETECTOR_FILE, layout.CLASSIFIER_FILE)]
    assert sum(sizes) <= 2**20


@pytest.mark.long
@pytest.mark.slow
def test_training_learns_and_is_reproducible(tmp_path, monkeypatch, capsys):
    """On a small corpus: far from the shipped accuracy, further from chance."""
    monkeypatch.setattr(train_labeller, "_IMAGES", 800)
    monkeypatch.setattr(train_labeller, "_EPOCHS", 5)
    monkeypatch.setattr(train_labeller, "_BATCH", 20)
    monkeypatch.setattr(train_labeller, "_HELD_OUT", 100)
    threads = torch.get_num_threads()
    train_labeller.main(["--out", str(tmp_path), "--seed", "3"])
    assert torch.get_num_threads() == threads
    printed = capsys.readouterr().out
    assert "clean: missed" in printed
    assert "blurred: missed" in printed
    for name, data in train_labeller.train(3).items():
        assert (tmp_path / name).read_bytes() == data
        assert hashlib.sha256(data).hexdigest() in printed
    labeller = reading.labeller_of(tmp_path)
    assert train_labeller.accuracy(labeller, corpus.make(300, np.random.default_rng(9), corpus.clean))["race4"] > 0.6


def test_the_networks_give_what_the_card_declares():
    by_gender, by_race = nets.Classifier()(torch.zeros(2, 3, nets.CHIP, nets.CHIP))
    assert (by_gender.shape, by_race.shape) == ((2, 2), (2, 4))
    presence, box = nets.Detector(64)(torch.rand(5, 3, 64, 64))
    assert presence.shape == (5,)
    assert (box[:, 2:] > box[:, :2]).all()
