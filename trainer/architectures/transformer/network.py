"""Network of a fine-tuning: an encoder, mean pooling of its tokens, and a linear layer.

All encoders get the same head. Sentence encoders such as MiniLM were trained with mean pooling; for others it is no worse
than the first token. The encoders' own heads have more layers with random weights, which one epoch hardly trains.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput


class PooledClassifier(nn.Module):
    """Encoder with mean pooling and a linear head for the labels."""

    def __init__(self, encoder: nn.Module, bias: Tensor, *, dropout: float) -> None:
        """Initialize the head's bias to `bias` [labels], the logits of the labels' rates, so that they need not be learned."""
        super().__init__()
        self.encoder = encoder
        self.config = encoder.config  # where transformers and optimum look
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.config.hidden_size, len(bias))  # type: ignore[union-attr, arg-type]
        nn.init.normal_(self.head.weight, std=0.02)
        with torch.no_grad():
            self.head.bias.copy_(bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """Return logits [texts, labels] from `input_ids` and `attention_mask`, both [texts, tokens]."""
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return SequenceClassifierOutput(logits=self.head(self.dropout(mean)))
