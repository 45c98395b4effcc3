//! The two ends of a bus, a node's and a backend's, do the same with channels: what their broker does. This
//! writes the forwarding down once. It owns no behaviour.

/// Implements `Channels` for a type with a field `broker` that implements it.
macro_rules! channels_of_broker {
    ($end:ty) => {
        #[async_trait::async_trait]
        impl crate::Channels for $end {
            async fn publish(
                &self,
                channel: &str,
                publication: crate::NewPublication,
                options: &crate::PublishOptions,
            ) -> Result<crate::Published, crate::BusError> {
                self.broker.publish(channel, publication, options).await
            }

            async fn publish_join(
                &self,
                channel: &str,
                info: &crate::ClientInfo,
            ) -> Result<(), crate::BusError> {
                self.broker.publish_join(channel, info).await
            }

            async fn publish_leave(
                &self,
                channel: &str,
                info: &crate::ClientInfo,
            ) -> Result<(), crate::BusError> {
                self.broker.publish_leave(channel, info).await
            }

            async fn history(
                &self,
                channel: &str,
                filter: crate::HistoryFilter,
            ) -> Result<crate::History, crate::BusError> {
                self.broker.history(channel, filter).await
            }

            async fn remove_history(&self, channel: &str) -> Result<(), crate::BusError> {
                self.broker.remove_history(channel).await
            }

            async fn presence_add(
                &self,
                channel: &str,
                info: &crate::ClientInfo,
                ttl_ms: u64,
            ) -> Result<(), crate::BusError> {
                self.broker.presence_add(channel, info, ttl_ms).await
            }

            async fn presence_remove(&self, channel: &str, client: &str) -> Result<(), crate::BusError> {
                self.broker.presence_remove(channel, client).await
            }

            async fn presence(&self, channel: &str) -> Result<Vec<crate::ClientInfo>, crate::BusError> {
                self.broker.presence(channel).await
            }

            async fn presence_stats(&self, channel: &str) -> Result<crate::PresenceStats, crate::BusError> {
                self.broker.presence_stats(channel).await
            }

            async fn control(&self, control: crate::Control) -> Result<(), crate::BusError> {
                self.broker.control(control).await
            }
        }
    };
}

pub(crate) use channels_of_broker;
