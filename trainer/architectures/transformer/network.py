"""The network that is fine-tuned: an encoder, the mean of its tokens, a linear layer.

One head for every encoder. The mean is how sentence encoders such as MiniLM were trained, and for the others it is no
worse than the first token; heads of the encoders' own start from random weights that one epoch hardly trains.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput


class PooledClassifier(nn.Module):
    """Token ids to logits."""

    def __init__(self, encoder: nn.Module, bias: Tensor, *, dropout: float) -> None:
        """`bias` [labels]: the logits of a text of which nothing is known, so that no step is spent on learning them."""
        super().__init__()
        self.encoder = encoder
        self.config = encoder.config  # where transformers and optimum look
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.config.hidden_size, len(bias))  # type: ignore[union-attr, arg-type]
        nn.init.normal_(self.head.weight, std=0.02)
        with torch.no_grad():
            self.head.bias.copy_(bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """Logits [texts, labels] of `input_ids` and `attention_mask`, both [texts, tokens]."""
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return SequenceClassifierOutput(logits=self.head(self.dropout(mean)))
