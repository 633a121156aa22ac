"""A model for mlserver that sums what it is given."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Sum(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload):
        values = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        total = np.array([values.sum()], dtype=np.float64)
        output = NumpyCodec.encode_output(name="total", payload=total)
        return InferenceResponse(model_name=self.name, outputs=[output])
