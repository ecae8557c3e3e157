"""The dialect of OpenAI: chat, completions, responses, embeddings and models."""
