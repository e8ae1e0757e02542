"""Chat in the terminal, in a session that is there again next time: ``python chat.py [SESSION]``."""

import sys

from mcp_client import MCPError, MCPSyncClient, SessionExists


def open_session(client: MCPSyncClient, session: str) -> None:
    try:
        client.create_session(session, system_instruction="Answer in one short English sentence.")
    except SessionExists:
        for message in client.list_messages(session):
            print(f"{message.role}: {message.text}")


def main(session: str) -> None:
    with MCPSyncClient() as client:
        client.wait_until_ready(timeout=30)
        open_session(client, session)
        while True:
            try:
                question = input("> ")
            except (EOFError, KeyboardInterrupt):
                break
            if not question.strip():
                continue
            try:
                with client.stream_chat(question, session=session) as stream:
                    for token in stream:
                        print(token, end="", flush=True)
                print()
            except KeyboardInterrupt:  # the server has stopped the answer
                print("\n(stopped: the conversation goes on without it)")
            except MCPError as error:  # the conversation is as it was before
                print(f"\n{error}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "chat")
