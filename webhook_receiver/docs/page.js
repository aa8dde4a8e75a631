"use strict";

SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: "openapi.json",
  deepLinking: true,
  validatorUrl: null, // otherwise the document is sent to validator.swagger.io
});
