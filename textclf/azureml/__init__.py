"""What every command that speaks to Azure ML shares: credentials, and the SDKs in workers."""
