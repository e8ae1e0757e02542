"""OpenAI, Azure, and every server with the same protocol: vLLM, Ollama, llama.cpp, Groq, Mistral and many more."""
