"""The digest that the controller hands out is understood by what it starts: the downloader and the server."""

from __future__ import annotations

from typing import Any

import click
import pytest

from k8s.controller.api.v1alpha1 import read_text_classifier
from k8s.controller.builders.serving import inference_service, serving_runtime
from model.download import download
from model.serving.__main__ import command
from model.serving.start import config_of
from tests.support.kubernetes.sights import IMAGES, classifier

DIGEST = "d" * 64


def predictor(digest: str | None) -> dict[str, Any]:
    document = classifier()
    built = inference_service(
        document, read_text_classifier(document), IMAGES, uri="s3://models/papers/v1/", manifest_sha256=digest
    )
    found: dict[str, Any] = built["spec"]["predictor"]
    return found


def test_the_downloader_accepts_the_controllers_arguments() -> None:
    (container,) = predictor(DIGEST)["initContainers"]

    with download.make_context("download", list(container["args"])) as context:
        assert context.params["uri"] == "s3://models/papers/v1/"
        assert context.params["manifest_sha256"] == DIGEST


def test_the_server_accepts_the_controllers_arguments() -> None:
    (container,) = serving_runtime(classifier(), IMAGES)["spec"]["containers"]
    arguments = [each.replace("{{.Name}}", "papers") for each in (*container["args"], *predictor(DIGEST)["model"]["args"])]

    config = config_of(command.make_context("serve", arguments).params)

    assert (config.version, config.manifest_sha256) == ("/mnt/models", DIGEST)


def test_of_a_version_that_nothing_vouches_for_the_pods_stay_as_they_were() -> None:
    found = predictor(None)

    assert found["initContainers"][0]["args"] == ["s3://models/papers/v1/", "/mnt/models"]
    assert "args" not in found["model"]


def test_a_digest_that_is_none_is_refused_by_its_option() -> None:
    with pytest.raises(click.UsageError, match="--manifest-sha256 is 'abc'"):
        config_of({"version": "/mnt/models", "manifest_sha256": "abc"})
