"""The dialect of Ollama: generate, chat, embeddings, and the models of the shelf."""
