"""The test of loss: senders that hold on to their messages, while everything that keeps them is killed with SIGKILL."""
