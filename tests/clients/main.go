// Calls made with the client that openapi-generator writes for Go.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	tallyhook "github.com/tallyhook/client"
)

func must[T any](value T, _ any, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	configuration := tallyhook.NewConfiguration()
	configuration.Servers = tallyhook.ServerConfigurations{{URL: os.Args[1]}}
	client := tallyhook.NewAPIClient(configuration)
	keys := map[string]tallyhook.APIKey{"internalToken": {Key: os.Args[2]}}
	ctx := context.WithValue(context.Background(), tallyhook.ContextAPIKeys, keys)

	payment := tallyhook.NewExpectPayment("order-7", 9_000_000_000, "eur")
	expected := must(client.ServicesAPI.PaymentsExpect(ctx).ExpectPayment(*payment).Execute())
	page := must(client.OperatorsAPI.AdminDeliveries(ctx).Source("stripe").Limit(1).Execute())
	delivery := must(client.OperatorsAPI.AdminDelivery(ctx, page.Items[0].Id).Execute())
	_, _, err := client.OperatorsAPI.AdminPayment(ctx, "pi_absent").Execute()
	var refusal *tallyhook.GenericOpenAPIError
	if !errors.As(err, &refusal) {
		panic("this payment is there")
	}
	problem := refusal.Model().(tallyhook.Problem)
	printed := []string{expected.Reference, string(expected.Reconciliation), delivery.Id, delivery.GetEventId(), problem.Reason}
	if err := json.NewEncoder(os.Stdout).Encode(printed); err != nil {
		panic(err)
	}
}
