"""What a worker does beside the server: ``manage.py runworker payments receipts``."""

from typing import Any

from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer, SyncConsumer

from tournament import business


class PaymentConsumer(SyncConsumer):
    """Takes payments; its handlers run in a thread, where the database is."""

    def payment_take(self, event: dict[str, Any]) -> None:
        """Take one payment, and have a receipt issued."""
        business.buy_coins(event["user_id"], event["coins"], event["method"])
        async_to_sync(self.channel_layer.send)("receipts", {**event, "type": "receipt.issue"})


class ReceiptConsumer(AsyncConsumer):
    """Tells the payer, and everybody who watches."""

    async def receipt_issue(self, event: dict[str, Any]) -> None:
        """Issue one receipt."""
        score = {"supporter": event["user_id"], "coins": event["coins"]}
        await self.channel_layer.send(event["payer"], {"type": "receipt.issued", "coins": event["coins"]})
        await self.channel_layer.group_send(
            f"scoreboard_{event['tournament_id']}", {"type": "score.changed", "score": score}
        )
