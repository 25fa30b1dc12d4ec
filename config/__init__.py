"""What the operator and the application's author wrote, read and merged; knows neither Docker nor the strategies."""
