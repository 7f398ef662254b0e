"""DVC's objects: where they are kept, which of them must stay, and how a run is made again from them."""
