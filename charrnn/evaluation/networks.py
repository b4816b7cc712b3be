"""A saved model, or a blend of several, as a network in torch."""

from charrnn.model.blended_network import BlendedNetwork, Network
from charrnn.model.network import from_weights
from charrnn.storage.blend import Saved
from charrnn.storage.model_file import SavedModel


def network_of(saved: Saved) -> Network:
    """Return a trained model, or a blend, on the CPU in evaluation mode."""
    networks = [from_weights(one.config, one.weights) for one in saved.members]
    if isinstance(saved, SavedModel):
        return networks[0].eval()
    return BlendedNetwork(networks, saved.maps, saved.mixing, saved.tokenizer.size).eval()
