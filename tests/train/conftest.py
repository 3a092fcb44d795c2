"""What several trainings start from."""
import pytest
import trainings

import asset3d


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A folder that is made by whoever needs it first."""
    return tmp_path_factory.mktemp("cache") / "of" / "views"


@pytest.fixture(scope="session")
def autoencoder(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder") / "run"
    asset3d.Run("train/autoencoder", folder, **trainings.autoencoder_options(cache)).result
    return folder / "result" / "model"


@pytest.fixture(scope="session")
def base(cache, autoencoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "run"
    asset3d.Run("train/zero123", folder, **trainings.zero123(cache, autoencoder)).result
    return folder / "result" / "model"
